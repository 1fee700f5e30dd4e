"""The console: server-rendered pages whose parts are replaced live."""
