"""Records on topics: the port, and its adapters."""
