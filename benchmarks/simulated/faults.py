"""Faults by a seed, and the adapters in which they happen."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from datetime import datetime
from random import Random
from typing import Any

from pawl_shared.buses.memory_bus import MemoryBus
from pawl_shared.buses.port import Message, Partition, Producer, Record, Transactions
from pawl_shared.clock import ManualClock
from pawl_shared.stores.port import Commit, Effect, Seen, StateKey, StoredState, TransactionalStore

HISTORY = 40  # steps that a failing seed shows


class Crash(BaseException):
    """The process ends here: no clean-up, no last words."""


class Faults:
    """Draws faults, counts them, and remembers the last steps.

    Args:
        rng: all randomness of the history.
        rate: of faults at each place where one can happen; 0: none.
    """

    def __init__(self, rng: Random, rate: float) -> None:
        self.rng, self.rate = rng, rate
        self.count: Counter[str] = Counter()
        self._steps: deque[str] = deque(maxlen=HISTORY)

    def step(self, at: datetime, what: str) -> None:
        """Something went as it should. In the calm at the end nothing is remembered, since what broke broke before."""
        if self.rate:
            self._steps.append(f"{at:%H:%M:%S.%f}  {what}")

    def strikes(self, kind: str, where: str, weight: float = 1.0) -> bool:
        """Whether this fault happens here and now."""
        if self.rate == 0 or self.rng.random() >= self.rate * weight:
            return False
        self.count[kind] += 1
        self._steps.append(f"                 FAULT {kind}: {where}")
        return True

    def crash(self, where: str, weight: float = 1.0) -> None:
        """Perhaps end the process here."""
        if self.strikes("crash", where, weight):
            raise Crash(where)

    @property
    def history(self) -> str:
        """The last steps, oldest first."""
        return "\n".join(self._steps)


class VirtualClock(ManualClock):
    """Tells milliseconds, as Kafka's stamps do, so that different records share one."""

    def now(self) -> datetime:
        now = super().now()
        return now.replace(microsecond=now.microsecond // 1000 * 1000)


class FaultyBus(MemoryBus):
    """Delivers late and unevenly, sends twice, and at times takes nothing."""

    def __init__(self, clock: VirtualClock, faults: Faults) -> None:
        super().__init__(clock)
        self.faults = faults

    def producer(self, name: str) -> _FaultyProducer:  # type: ignore[override]
        return _FaultyProducer(super().producer(name), self.faults, name)

    def transactions(self, transactional_id: str) -> _FaultyTransactions:  # type: ignore[override]
        return _FaultyTransactions(super().transactions(transactional_id), self.faults, transactional_id)

    def fetch(self, part: Partition, offset: int) -> list[Record]:
        """What a consumer of our own gets."""
        return self._deliver(part, offset)

    def _deliver(self, part: Partition, offset: int) -> list[Record]:
        records = super()._deliver(part, offset)
        if not records or not self.faults.strikes("delay", f"{part.topic}/{part.number}", 4):
            return records
        return records[: self.faults.rng.randrange(len(records))]


class _FaultyProducer:
    def __init__(self, inner: Producer, faults: Faults, name: str) -> None:
        self._inner, self._faults, self._name = inner, faults, name

    def send(self, message: Message) -> Future[Partition]:
        self._faults.crash(f"{self._name} before sending to {message.topic}", 0.2)
        future = self._inner.send(message)
        if self._faults.strikes("sent twice", f"{self._name} to {message.topic}"):
            self._inner.send(message)
        self._faults.crash(f"{self._name} after sending to {message.topic}", 0.2)
        return future

    def flush(self, timeout: float = 60.0) -> None:
        self._inner.flush(timeout)

    def close(self) -> None:
        self._inner.close()


class _FaultyTransactions:
    def __init__(self, inner: Transactions, faults: Faults, name: str) -> None:
        self._inner, self._faults, self._name = inner, faults, name

    def commit(self, messages: Sequence[Message], offsets: Any, group: str) -> None:
        self._faults.crash(f"{self._name} in a transaction that is then aborted")
        self._inner.commit(messages, offsets, group)
        self._faults.crash(f"{self._name} after its transaction")

    def close(self) -> None:
        self._inner.close()


class FaultyStore(TransactionalStore):
    """Another store, with crashes around every step, and with somebody who takes over in the middle of a commit."""

    def __init__(self, inner: TransactionalStore, faults: Faults, name: str, overtake: Callable[[], None]) -> None:
        self._inner, self._faults, self._name, self._overtake = inner, faults, name, overtake

    def open(self) -> None:
        self._inner.open()
        self._faults.crash(f"{self._name} after opening its store")

    def positions(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        return self._inner.positions(partitions)

    def load(self, keys: Sequence[StateKey]) -> dict[StateKey, StoredState]:
        return self._inner.load(keys)

    def due(self, fold: str, now: datetime) -> list[str]:
        return self._inner.due(fold, now)

    def seen(self, ids: Sequence[Seen]) -> set[Seen]:
        return self._inner.seen(ids)

    def effects(self) -> list[Effect]:
        return self._inner.effects()

    def commit(self, commit: Commit) -> None:
        self._faults.crash(f"{self._name} before its commit")
        if self._faults.strikes("overtaken", f"{self._name}: another instance starts, and this one commits afterwards"):
            self._overtake()
        self._inner.commit(commit)
        self._faults.crash(f"{self._name} after its commit, before sending")

    def outgoing(self, limit: int) -> list[tuple[int, Message]]:
        return self._inner.outgoing(limit)

    def sent(self, through: int) -> None:
        self._faults.crash(f"{self._name} after sending, before it is marked as sent")
        self._inner.sent(through)

    def close(self) -> None:
        self._inner.close()


class AtOnce(Executor):
    """Does submitted work before submit() returns; what it raises is raised by whoever asks for the result."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


class Late(Executor):
    """Does submitted work when somebody asks for the result: what is done meanwhile knows nothing of it."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return _Asked(lambda: fn(*args, **kwargs))


class _Asked(Future[Any]):
    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__()
        self._work = work

    def result(self, timeout: float | None = None) -> Any:
        return self._work()


class Work(Executor):
    """Does submitted work one piece at a time, when the simulation says so."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.waiting: deque[Callable[[], object]] = deque()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.waiting.append(lambda: fn(*args, **kwargs))
        return Future()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self.waiting.clear()

    def do(self) -> None:
        """The oldest piece."""
        if self.waiting:
            self.waiting.popleft()()
