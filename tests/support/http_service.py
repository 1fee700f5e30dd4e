"""A service's HTTP server in a thread."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from support.inference import eventually

from pawl_inference.server import InferenceService


@contextmanager
def serving(service: InferenceService, port: int) -> Iterator[str]:
    """Yields the address when the service is ready; ends it in order."""
    stop = threading.Event()
    thread = threading.Thread(target=service.run, args=(stop,))
    thread.start()
    try:
        eventually(lambda: ready(f"http://127.0.0.1:{port}"), timeout=60)
        yield f"http://127.0.0.1:{port}"
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive(), "the service did not stop"


def ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False
