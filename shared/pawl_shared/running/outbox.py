"""What the store has committed and the broker is to have: sent in order, a portion at a time.

A runner that reads much does not wait for the broker: the latest portion is on its way while the next batch is folded
and committed. What is not known to have arrived stays in the store, and after a crash it is sent again, which changes
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future

from pawl_shared.buses.port import Message, Partition
from pawl_shared.stores.port import TransactionalStore

PORTION = 5_000  # messages
PATIENCE_SECONDS = 120.0


class Outbox:
    """What `send` takes is sent by it. Used by the runner's thread alone, and never while a commit is on its way."""

    def __init__(self, store: TransactionalStore, send: Callable[[Message], Future[Partition]]) -> None:
        self._store, self._send = store, send
        self._sent: tuple[int, Sequence[Future[Partition]]] | None = None

    def send(self) -> None:
        """All that waits; only the last portion may still be on its way then. Raises BusError."""
        self.settle()
        while waiting := self._store.outgoing(PORTION):
            self._sent = waiting[-1][0], [self._send(message) for _, message in waiting]
            if len(waiting) < PORTION:
                return
            self.settle()

    def drain(self) -> None:
        """send(), and wait for all of it. Raises BusError."""
        self.send()
        self.settle()

    def settle(self, patience: float = PATIENCE_SECONDS) -> None:
        """Wait until the broker has all that was sent. Raises BusError, or TimeoutError."""
        if self._sent is not None:
            (through, futures), self._sent = self._sent, None
            for future in futures:
                future.result(patience)
            self._store.sent(through)
