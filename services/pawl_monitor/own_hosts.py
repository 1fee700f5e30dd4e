"""Who may speak to the console: no other site's page, not even one whose name was made to lead here (DNS rebinding).

Starlette's TrustedHostMiddleware knows neither addresses of any number nor exceptions, and does not say what to do.
"""

from __future__ import annotations

from collections.abc import Set
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

# They hold no text, and what asks for them in a cluster names the monitor as it likes.
OPEN = frozenset({"/healthz", "/readyz", "/metrics"})
READING = frozenset({"GET", "HEAD", "OPTIONS"})


class OwnHosts:
    """ASGI middleware: refuses a Host that is not ours, and what another site's page wants to have written.

    An IP address and localhost are always ours: a page that reached us by rebinding has the name of its site.

    Args:
        names: of the console, in lower case and without a port.
    """

    def __init__(self, app: ASGIApp, names: Set[str]) -> None:
        self._app, self._names = app, {name for name in names if not _is_local(name)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] == "http" and scope["path"] not in OPEN else None
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._is_ours(name_of(host)):
            detail = f"{host!r} is no name of this console: ask for it at its address, or name it in PAWL_CONSOLE_HOSTS"
            return JSONResponse({"detail": detail}, 421)
        if origin is None or scope["method"] in READING or urlsplit(origin).netloc.lower() == host.lower():
            return None
        if name_of(origin) in self._names:  # a proxy in front may send another Host
            return None
        detail = f"a page of {origin!r} may not write here; if it is the console's own, name it in PAWL_CONSOLE_HOSTS"
        return JSONResponse({"detail": detail}, 403)

    def _is_ours(self, name: str | None) -> bool:
        return name is not None and (name in self._names or _is_local(name))


def name_of(text: str) -> str | None:
    """The host of `name`, `name:port` or an address with a scheme, in lower case; none: there is none."""
    try:
        return urlsplit(text if "//" in text else f"//{text}").hostname
    except ValueError:
        return None


def _is_local(name: str) -> bool:
    """Whether it is one that no name server can make to lead elsewhere."""
    try:
        return name == "localhost" or bool(ip_address(name))
    except ValueError:
        return False
