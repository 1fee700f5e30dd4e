"""A batch that is folded while the one before is still being committed comes out as if it had waited."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID

import pytest
import structlog
from pydantic import BaseModel

from pawl_shared.buses.port import Record
from pawl_shared.codec import encode
from pawl_shared.events import Event, PauseCommand, Tick
from pawl_shared.running.fold import Delivery, Step
from pawl_shared.running.folding import Folding
from pawl_shared.stores.memory import MemoryDatabase, MemoryStore
from pawl_shared.stores.port import Commit, Row
from pawl_shared.topics import COMMANDS, EVIDENCE

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Count(BaseModel):
    n: int


class Counting:
    """Counts what is paused; its timer tells, and forgets."""

    name = "counting"
    topics = (COMMANDS.name, EVIDENCE.name)
    state = Count

    def keys(self, event: Event) -> Sequence[str]:
        return [event.model] if isinstance(event, PauseCommand) else []

    def step(self, key: str, state: Count | None, delivery: Delivery) -> Step[Count]:
        n = 1 + (state.n if state else 0)
        return Step(Count(n=n), rows=(Row("counts", ("key", "n"), (key, n)),), due=delivery.at + timedelta(seconds=3))

    def timer(self, key: str, state: Count, tick: Delivery) -> Step[Count]:
        return Step(None, rows=(Row("told", ("key", "n"), (key, state.n)),))


def records(rng: Random, count: int) -> list[Record]:
    """Commands, every third of them a copy of one of the latest, and Ticks."""
    made: list[Record] = []
    for number in range(count):
        at = NOW + timedelta(seconds=number)
        if number % 4 == 3:
            event: Event = Tick(id=UUID(int=number), time=at, source="t", model="m", number=number)
        else:
            event = PauseCommand(id=UUID(int=number), time=at, source="t", model=rng.choice("abc"), who="me")
        message = encode(event)
        made.append(Record(message.topic, 0, number, at, message.key, message.value, message.headers))
        if number % 3 == 0:
            made.append(rng.choice(made[-6:]))
    return made


def folded(batches: Sequence[Sequence[Record]], ahead: bool) -> tuple[Counter[tuple[str, str]], MemoryDatabase]:
    """What became of the records, and what is stored at the end."""
    store, waiting, outcomes = MemoryStore(), list[Commit](), Counter[tuple[str, str]]()
    folding = Folding("test", "test/0", store, [Counting()], structlog.get_logger())
    for batch in batches:
        found = folding.fold(folding.read(batch))
        outcomes += found.outcomes
        waiting.append(found.commit())
        while len(waiting) > ahead:
            store.commit(waiting.pop(0))
    for commit in waiting:
        store.commit(commit)
    return outcomes, store.database


@pytest.mark.parametrize("seed", range(30))
def test_ahead_of_a_commit_everything_is_as_after_it(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = Random(seed)
    every, batches = records(rng, 40), list[list[Record]]()
    expected, waited = folded([[record] for record in every], ahead=False)
    assert expected[COMMANDS.name, "duplicate"]
    assert any(row.table == "told" for row in waited.rows)
    while every:
        size = rng.randint(1, 5)
        batches.append(every[:size])
        every = every[size:]
    monkeypatch.setattr("pawl_shared.running.folding.KEPT", rng.choice((1, 50)))
    outcomes, early = folded(batches, ahead=True)
    assert (outcomes, early.rows, early.states, early.seen) == (expected, waited.rows, waited.states, waited.seen)
