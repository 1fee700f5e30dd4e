"""Records of several partitions in the one order of their arrival."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from pawl_shared.buses.arrivals import Arrivals
from pawl_shared.buses.port import Partition, Record

START = datetime(2026, 1, 1, tzinfo=UTC)
A, B = Partition("a", 0), Partition("b", 0)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def record(part: Partition, offset: int, seconds: float) -> Record:
    return Record(*part, offset, at(seconds), None, None)


def test_nothing_is_released_while_a_partition_may_still_hold_something_earlier() -> None:
    arrivals = Arrivals()
    arrivals.assign([A, B])
    arrivals.add([record(A, 0, 5)])
    assert arrivals.release() == []
    arrivals.add([record(B, 0, 3)])
    assert arrivals.release() == [record(B, 0, 3)]
    arrivals.complete(at(5), [B])
    assert arrivals.release() == [record(A, 0, 5)]


def test_at_one_instant_the_partition_decides_and_what_may_come_is_waited_for() -> None:
    arrivals = Arrivals()
    arrivals.assign([A, B])
    arrivals.add([record(B, 0, 1), record(A, 0, 1)])
    assert arrivals.release() == [record(A, 0, 1)], "another of partition a at this instant would come before b's"
    arrivals.complete(at(1), [A])
    assert arrivals.release() == [record(B, 0, 1)]


def test_dropped_partitions_neither_give_nor_hold_up() -> None:
    arrivals = Arrivals()
    arrivals.assign([A, B])
    arrivals.add([record(A, 0, 5), record(A, 1, 6)])
    arrivals.drop([B])
    assert arrivals.release() == [record(A, 0, 5), record(A, 1, 6)]
    arrivals.drop([A])
    assert arrivals.release() == []


def test_a_crowded_partition_is_named_until_its_records_are_released() -> None:
    arrivals = Arrivals(crowded=2)
    arrivals.assign([A, B])
    arrivals.add([record(A, 0, 5), record(A, 1, 6)])
    assert arrivals.crowded() == [A]
    arrivals.complete(at(6), [B])
    arrivals.release()
    assert arrivals.crowded() == []


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=40),
    st.randoms(use_true_random=False),
)
def test_whatever_the_order_of_delivery_the_order_of_release_is_one(
    steps: list[tuple[int, int]], rng: "object"
) -> None:
    parts = [Partition("t", number) for number in range(3)]
    logs: dict[Partition, list[Record]] = {part: [] for part in parts}
    now = 0
    for passed, number in steps:
        now += passed
        logs[parts[number]].append(record(parts[number], len(logs[parts[number]]), now))
    expected = sorted((r for log in logs.values() for r in log), key=lambda r: (r.appended, r.partition, r.offset))
    arrivals, released, position = Arrivals(), [], dict.fromkeys(parts, 0)
    arrivals.assign(parts)
    while any(position[part] < len(logs[part]) for part in parts):
        part = rng.choice(parts)  # type: ignore[attr-defined]
        count = rng.randint(0, 3)  # type: ignore[attr-defined]
        arrivals.add(logs[part][position[part] : position[part] + count])
        position[part] = min(len(logs[part]), position[part] + count)
        arrivals.complete(at(now), [p for p in parts if position[p] == len(logs[p])])
        released += arrivals.release()
    assert released + arrivals.release() == expected
