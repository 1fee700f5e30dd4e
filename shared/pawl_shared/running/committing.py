"""Commits of a runner's batches: at once, or beside the folding of the next batch.

DuckDB lets other threads run while it writes, so a monitor with much to read polls, decodes and folds the next batch in
the meantime. Nothing is committed, sent or begun before the commit of what came before it has ended, and where that
fails the batch that was folded on it is lost with the process: a crash is the same as one between two batches.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager

from pawl_shared import metrics
from pawl_shared.stores.port import Commit, TransactionalStore

SWITCH_SECONDS = 0.0003


@contextmanager
def quick_switches() -> Iterator[None]:
    """While it is entered, a thread that wants Python's lock has it after 0.3 ms instead of 5.

    A commit that is made aside wants it some fifty times, for a moment each, while the next batch is decoded. With 5 ms
    that batch then waited for the rest of the commit: 19 us a record of 127, now 2 of 109.
    """
    usual = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


class Committing:
    """One commit at a time, and what is to be done after it, in the runner's own thread.

    Args:
        service: names the metric.
        aside: where commits are made; none: in the runner's thread, before commit() returns.
    """

    def __init__(self, service: str, store: TransactionalStore, aside: Executor | None = None) -> None:
        self._service, self._store, self._aside = service, store, aside
        self._pending: tuple[Future[None], Callable[[], None]] | None = None

    @property
    def pending(self) -> bool:
        """Whether a commit may still be on its way."""
        return self._pending is not None

    def commit(self, commit: Commit, then: Callable[[], None]) -> None:
        """Commit, after all that came before; `then` is called in settle(). Raises what the store raises, or has
        settle() raise it."""
        self.settle()
        if self._aside is None:
            self._commit(commit)
            then()
        else:
            self._pending = self._aside.submit(self._commit, commit), then

    def settle(self) -> None:
        """Wait for the commit that is on its way, and do what follows it. Raises what the store raised."""
        if self._pending is not None:
            (future, then), self._pending = self._pending, None
            future.result()
            then()

    def close(self) -> None:
        """settle(), and end the thread."""
        try:
            self.settle()
        finally:
            if self._aside is not None:
                self._aside.shutdown()

    def _commit(self, commit: Commit) -> None:
        began = time.perf_counter()
        self._store.commit(commit)
        metrics.COMMIT_SECONDS.labels(self._service).observe(time.perf_counter() - began)
