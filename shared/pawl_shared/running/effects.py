"""Effects at work: threads that do what folds said is owed, one at a time for each kind."""

from __future__ import annotations

import queue
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from pawl_shared.errors import ConfigurationError
from pawl_shared.events import Event
from pawl_shared.stores.port import Effect

ATTEMPTS = 3
FIRST_PAUSE_SECONDS = 1.0


class EffectContext(Protocol):
    """What a handler may use beside its effect."""

    cancelled: threading.Event

    def publish(self, events: Iterable[Event]) -> None:
        """Progress, at once and outside any transaction."""


class EffectHandler(Protocol):
    """Does the work of one effect and answers the events that it ends in.

    Ids of these events are derived from the effect's, since the work may be done again after a crash. What can go wrong
    in the work's own terms (a failed run) is an event, too; anything raised is tried again, then logged and dropped.
    """

    def __call__(self, effect: Effect, context: EffectContext) -> Sequence[Event]: ...


@dataclass(frozen=True)
class Finished:
    """An effect that is done, and its events."""

    effect: Effect
    events: Sequence[Event]


class _Context:
    def __init__(self, cancelled: threading.Event, publish: Callable[[Iterable[Event]], None]) -> None:
        self.cancelled = cancelled
        self.publish = publish


def one_thread(kind: str) -> Executor:
    """Where work of a kind is done: one piece after the other, beside the runner."""
    return ThreadPoolExecutor(1, thread_name_prefix=f"pawl-{kind}")


class EffectRunner:
    """Begins effects and collects what they ended in.

    Args:
        pool: makes the executor of a kind; simulations give one that does the work when they say so.
        pause: seconds before a second attempt; four times as many before the third.
    """

    def __init__(
        self,
        handlers: Mapping[str, EffectHandler],
        publish: Callable[[Iterable[Event]], None],
        log: Any,
        pool: Callable[[str], Executor] = one_thread,
        pause: float = FIRST_PAUSE_SECONDS,
    ) -> None:
        self._handlers, self._log, self._pool, self._pause = handlers, log, pool, pause
        self._cancelled = threading.Event()
        self._context = _Context(self._cancelled, publish)
        self._pools: dict[str, Executor] = {}
        self._done: queue.SimpleQueue[Finished] = queue.SimpleQueue()
        self._begun: set[UUID] = set()
        self._owed: dict[str, int] = defaultdict(int)

    def begin(self, effect: Effect) -> None:
        """Do it, after those of its kind that came before. A second call for one that has not ended does nothing."""
        if effect.id in self._begun:
            return
        if effect.kind not in self._handlers:
            raise ConfigurationError(f"nothing handles effects of kind {effect.kind!r}")
        self._begun.add(effect.id)
        self._owed[effect.kind] += 1
        if effect.kind not in self._pools:
            self._pools[effect.kind] = self._pool(effect.kind)
        self._pools[effect.kind].submit(self._work, effect)

    def finished(self) -> list[Finished]:
        """Those that ended since the last call. To be committed before any other is begun."""
        done = []
        while not self._done.empty():
            effect = (ended := self._done.get()).effect
            done.append(ended)
            self._owed[effect.kind] -= 1
            self._begun.discard(effect.id)  # a trigger that waits for feedback owes one every few seconds, for weeks
        return done

    def owed(self) -> Mapping[str, int]:
        """How many are waiting or at work, by kind."""
        return dict(self._owed)

    def close(self) -> None:
        """Cancel what is at work and wait for it; it stays owed and begins again with the next start."""
        self._cancelled.set()
        for pool in self._pools.values():
            pool.shutdown(wait=True, cancel_futures=True)

    def _work(self, effect: Effect) -> None:
        pause = self._pause
        for attempt in range(1, ATTEMPTS + 1):
            try:
                events = self._handlers[effect.kind](effect, self._context)
            except Exception:
                if self._cancelled.is_set():
                    return
                self._log.exception("an effect failed", kind=effect.kind, effect=str(effect.id), attempt=attempt)
                self._cancelled.wait(pause)
                pause *= 4
            else:
                if not self._cancelled.is_set():
                    self._done.put(Finished(effect, events))
                return
        self._done.put(Finished(effect, ()))
