"""Two workers of the streams: their own folds and rules of ownership, between a broker's group and its changelog.

Faust's part is played as it was seen to behave: a batch at a time, at least once, offsets committed lazily. A worker is
a coroutine that stops between any two of its writes, so that partitions move in the middle of a batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from benchmarks.simulated.faults import Faults, FaultyBus

from pawl_shared.access.tokens import KeyRing
from pawl_shared.buses.port import Message, Partition, Record
from pawl_shared.errors import BusError
from pawl_shared.policies.reward_policy import RewardPolicy
from pawl_shared.sealed.text import KeyRing as TextRing
from pawl_shared.sealed.text import MemoryKeys
from pawl_shared.topics import FEEDBACK, INFERENCES
from pawl_streams.fold import JoinFold
from pawl_streams.ownership import EPOCH, Ownership
from pawl_streams.policy import Policies
from pawl_streams.records import Batch

BATCH = 8  # records, instead of 500
REWARDS = RewardPolicy(discount=0.5)  # so that it counts where in its session an answer stands
TOKENS = KeyRing.of(b"k" * 32)


class Group:
    """What brokers keep of the workers: the table's changelog, the committed offsets, and who has which partitions."""

    def __init__(self, bus: FaultyBus, faults: Faults) -> None:
        self.bus, self.faults = bus, faults
        self.changelog: dict[int, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
        self.offsets: dict[Partition, int] = {}
        self.texts = TextRing(MemoryKeys())
        self.generation = 0
        self._members: list[Worker] = []

    def join(self, worker: Worker) -> None:
        """One more member."""
        self._members.append(worker)
        self.rebalance()

    def leave(self, worker: Worker) -> None:
        """It stops, or died, or was not heard of for too long."""
        if worker in self._members:
            self._members.remove(worker)
            self.rebalance()

    def rebalance(self) -> None:
        """Every partition to one member, and with two of them to the other one than before."""
        self.generation += 1
        count, members = INFERENCES.partitions, self._members
        for index, worker in enumerate(members):
            mine = [n for n in range(count) if (n + self.generation) % len(members) == index]
            worker.assigned(self.generation, mine)

    def commit(self, worker: Worker, offsets: dict[Partition, int]) -> None:
        """Nothing, for who is no member any more."""
        if worker in self._members:
            self.offsets |= offsets


class Worker:
    """One process. `turn` until it raises Crash or BusError."""

    def __init__(self, name: str, group: Group) -> None:
        self._name, self._group, self._faults = name, group, group.faults
        self._table: dict[str, dict[str, Any]] = {}
        self._owned = Ownership(BATCH)
        self._fold = JoinFold(f"streams-{name}", lambda _: None, Policies(rewards=lambda _: REWARDS))
        self._producer = group.bus.producer(f"streams {name}")
        self._positions: dict[Partition, int] = {}
        self._restored: dict[int, int] = {}
        self._delivered: dict[Partition, set[int]] = defaultdict(set)
        self._acked: dict[Partition, set[int]] = defaultdict(set)
        self._generation = 0
        self._work: Iterator[None] | None = None
        self._asleep, self._expelled = 0, False
        group.join(self)

    def assigned(self, generation: int, numbers: Sequence[int]) -> None:
        """What it hears after a rebalance, perhaps amid a batch: restore, and read from what is committed."""
        self._generation = generation
        self._delivered.clear()
        self._acked.clear()
        self._restored = {number: self._restored.get(number, 0) for number in numbers}
        for number in numbers:
            changelog = self._group.changelog[number]
            for key, state in changelog[self._restored[number] :]:
                if self._owned.counts(number, key, state[EPOCH], self._table.get(key, {}).get(EPOCH, [0, 0])):
                    self._table[key] = state
            self._restored[number] = len(changelog)
        parts = [Partition(topic.name, number) for topic in (INFERENCES, FEEDBACK) for number in numbers]
        self._positions = {part: self._group.offsets.get(part, 0) for part in parts}

    def turn(self, steps: int | None = None) -> str:
        """So many writes of its batch, or all; answers what it did."""
        if self._asleep and steps is not None:
            self._asleep -= 1
            return "hangs"
        if self._work is None:
            self._work = self._handle(self._read())
        for _ in iter(int, 1) if steps is None else range(steps):
            if next(self._work, self) is self:
                self._work = None
                break
        if self._expelled and self._work is None:
            self._expelled, self._asleep = False, 0
            self._group.join(self)
            return "hears that it was expelled"
        if self._faults.rng.random() < 0.3:
            self._commit()
        return "works" if self._work else "has finished a batch"

    def hang(self) -> None:
        """Until the group gives its partitions away, of which it hears when its batch is done."""
        self._asleep, self._expelled = self._faults.rng.randrange(40), True
        self._group.leave(self)

    def stop(self) -> None:
        """In good order, though amid a batch."""
        self._commit()
        self._group.leave(self)

    @property
    def idle(self) -> bool:
        """Whether everything of its partitions was joined."""
        bus = self._group.bus
        return not (self._work or self._expelled) and not any(bus.fetch(p, at) for p, at in self._positions.items())

    def _read(self) -> list[Record]:
        """A batch. Between topics and partitions there is no order, as with Faust."""
        records, rng = list[Record](), self._faults.rng
        waiting = {part: self._group.bus.fetch(part, at) for part, at in self._positions.items()}
        while len(records) < BATCH and (parts := [part for part, found in waiting.items() if found]):
            part = rng.choice(parts)
            records.append(waiting[part].pop(0))
            self._positions[part] = records[-1].offset + 1
            self._delivered[part].add(records[-1].offset)
        return records

    def _handle(self, records: Sequence[Record]) -> Iterator[None]:
        """As the agent does, which gives a batch up as soon as it hears of a rebalance."""
        generation, owned = self._generation, self._owned
        batch = Batch(self._fold, TOKENS, self._group.texts, self._table.get)
        for record in records:
            batch.add(record, owned.taken(record, generation, self._table.get))
        yield
        mended = {key: self._table.get(key) for n in {r.partition for r in records} for key in owned.overruled(n)}
        states = {key: state for key, state in mended.items() if state} | batch.states
        writes = [partial(self._store, key, state) for key, state in states.items()]
        for write in (*writes, *(partial(self._publish, message) for message in batch.messages)):
            if self._generation != generation:
                return
            write()
            yield
        for record in records if self._generation == generation else ():
            part = Partition(record.topic, record.partition)
            self._delivered[part].discard(record.offset)
            self._acked[part].add(record.offset)

    def _publish(self, message: Message) -> None:
        self._producer.send(message).result()

    def _store(self, key: str, state: dict[str, Any]) -> None:
        self._faults.crash("streams before a state is kept", 0.2)
        if not self._group.bus.available:
            raise BusError("the broker does not answer")
        number = state["partition"]
        state = {**state, EPOCH: self._owned.epoch(number, self._generation)}
        self._table[key] = state
        self._group.changelog[number].append((key, state))
        self._faults.crash("streams after a state is kept", 0.2)

    def _commit(self) -> None:
        found = {part: max(acked) + 1 for part, acked in self._acked.items() if acked}
        below = {part: min(open_) for part, open_ in self._delivered.items() if open_}
        self._group.commit(self, {part: min(end, below.get(part, end)) for part, end in found.items()})
