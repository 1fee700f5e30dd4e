"""Which records a new owner tells again, and above which revisions; the simulation moves partitions amid work."""

from datetime import UTC, datetime
from typing import Any

from pawl_shared.buses.port import Record
from pawl_streams.ownership import AT, Ownership, floor, handled, place_key

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def record(offset: int, topic: str = "pawl.feedback") -> Record:
    return Record(topic, 3, offset, NOW, None, None, ())


def told_again(owned: Ownership, generation: int, offsets: range, table: dict[str, Any]) -> list[int]:
    return [offset for offset in offsets if owned.taken(record(offset), generation, table.get)]


def test_the_first_worker_of_a_group_tells_nothing_again() -> None:
    assert told_again(Ownership(batch=3), 1, range(9), {}) == []


def test_one_batch_behind_what_was_handled_is_told_again() -> None:
    """From the committed offset on: a commit may be several batches behind what was handled."""
    table = {place_key(3): {"partition": 3, AT: {"pawl.feedback": 6}}}
    owned = Ownership(batch=3)
    assert told_again(owned, 2, range(2, 20), table) == list(range(2, 10))
    assert told_again(owned, 2, range(2, 20), {}) == list(range(2, 10)), "its own records move nothing"
    assert told_again(owned, 3, range(8, 20), table) == [8, 9, 10], "records may be gone from the log"


def test_a_second_worker_knows_of_one_that_has_kept_nothing_yet() -> None:
    assert told_again(Ownership(batch=3), 2, range(9), {}) == [0, 1, 2]


def test_how_far_a_partition_was_handled_is_known_by_topic() -> None:
    state = handled(record(4, "pawl.inferences"), handled(record(7), handled(record(6), None)))
    assert state == {"partition": 3, AT: {"pawl.feedback": 7, "pawl.inferences": 4}}


def test_revisions_of_a_later_owner_are_greater() -> None:
    hung, owner = Ownership(500), Ownership(500)
    for owned in (hung, owner):
        owned.counts(3, "a", [7, 2], [0, 0])
    first, second = hung.epoch(3, 9), owner.epoch(3, 10)
    most = 2 * 500  # of an answer, by one batch
    assert floor(second) > floor(first) + most
    assert floor(()) == 0
    assert floor([2**40, 1]) + most < 2**31, "of those there are so many"
