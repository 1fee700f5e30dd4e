"""The decode engine: one base graph, many adapters, one batch. Callers depend on `engine.port` alone."""
