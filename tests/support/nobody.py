"""An executor that does nothing: for tests that do the owed work themselves."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any


class Nobody(Executor):
    """Takes work, and never begins it."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return Future()
