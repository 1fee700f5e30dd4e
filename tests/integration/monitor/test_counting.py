"""Feedback is counted as a data set would hold it, and opened once."""

from collections.abc import Iterator
from datetime import timedelta
from random import Random
from uuid import uuid5

import pytest
from support.monitor import BASE, MODEL, START, interaction

from pawl_monitor.storage import datasets, rows
from pawl_monitor.storage.counting import Counting
from pawl_monitor.storage.cursors import Cursors
from pawl_monitor.storage.duckdb_store import open_database
from pawl_monitor.storage.reader import Reader
from pawl_monitor.storage.texts import Texts
from pawl_shared.events import FeedbackReceived, InteractionScored
from pawl_shared.sealed.events import all_sealed
from pawl_shared.sealed.text import KeyRing, MemoryKeys, Opener
from pawl_shared.stores.duckdb import DuckDbStore
from pawl_shared.stores.port import Commit


class Opened(Opener):
    """Counts the texts that are opened."""

    texts = 0

    def open(self, text: str, place: str) -> str:
        self.texts += 1
        return super().open(text, place)


class Place:
    """The monitor's database, and both ways to count."""

    def __init__(self) -> None:
        keys = MemoryKeys()
        self.ring, self.opener = KeyRing(keys), Opened(keys)
        self.cursors = Cursors(open_database(None))
        self.reader, self.texts = Reader(self.cursors), Texts(self.opener)
        self.store = DuckDbStore(self.cursors())
        self.store.open()
        self.counting = Counting(self.reader, self.texts)

    def arrive(self, events: list[InteractionScored]) -> None:
        sealed = all_sealed(events, self.ring)
        self.store.commit(Commit(rows=[row for event in sealed for row in rows.interaction_rows(event, (0, 0))]))

    def at_once(self, request: datasets.Request) -> object:
        with self.reader.cursors.one() as cursor:
            return datasets.usable(datasets.collect(cursor, request, Texts(Opener(self.ring._found))))


@pytest.fixture
def place() -> Iterator[Place]:
    place = Place()
    yield place
    place.cursors.close()


def request(since: timedelta = timedelta(0), share: float = 0.25) -> datasets.Request:
    return datasets.Request(MODEL, START + since, START + timedelta(hours=2), BASE, heldout_share=share)


def traffic(rng: Random, number: int) -> list[InteractionScored]:
    """Thumbs, corrections that change something or nothing, and second thoughts, in any order."""
    events: list[InteractionScored] = []
    for index in range(number):
        time = START + timedelta(minutes=rng.uniform(0, 100))
        correction = rng.choice((None, "Short.", f"A long answer, number {index}, with several words in it."))
        found = interaction(index, time, reward=rng.choice((0.0, 1.0)), correction=correction)
        events += found
        if rng.random() < 0.3 and (said := found[1].feedback):
            changed = {"id": uuid5(said.id, "again"), "value": 1.0, "time": said.time + timedelta(seconds=9)}
            again = FeedbackReceived.model_validate(said.model_dump() | changed)
            events.append(found[1].model_copy(update={"id": uuid5(found[1].id, "again"), "feedback": again}))
    rng.shuffle(events)
    return events


@pytest.mark.parametrize("seed", [1, 2])
def test_the_count_equals_that_of_the_data_set_whenever_it_is_asked(place: Place, seed: int) -> None:
    rng = Random(seed)
    events = traffic(rng, 80)
    for start in range(0, len(events), 40):
        place.arrive(events[start : start + 40])
        for asked in (request(), request(timedelta(minutes=30)), request(share=0.5)):
            assert place.counting.usable(asked) == place.at_once(asked)
    assert place.counting.usable(request()).pairs > 0


def test_every_text_is_opened_once(place: Place) -> None:
    place.arrive([event for number in range(20) for event in interaction(number, START, reward=1.0, correction="No.")])
    first = place.counting.usable(request())
    opened = place.opener.texts
    assert opened > 0
    assert place.counting.usable(request()) == first
    assert place.opener.texts == opened
    place.arrive(interaction(20, START, reward=1.0))
    place.counting.usable(request())
    assert place.opener.texts == opened + 2  # prompt and answer of the new thumb


def test_a_text_that_is_erased_before_it_is_counted_is_never_counted(place: Place) -> None:
    place.arrive(interaction(1, START, reward=1.0))
    place.ring._keys.erase("default/subject/user 1")  # type: ignore[attr-defined]
    for _ in range(2):
        assert place.counting.usable(request()).rows == 0
