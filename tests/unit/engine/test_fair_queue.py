"""Who comes next, whatever the others have queued."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pawl_inference.engine.fair_queue import FairQueue

SHARES = st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"))
STEPS = st.lists(st.one_of(SHARES, st.just("pop"), st.integers(0, 40)), max_size=60)


@given(STEPS)
def test_between_two_turns_of_an_app_every_other_that_waits_has_one_and_so_have_its_users(
    steps: list[tuple[str, str] | str | int],
) -> None:
    queue: FairQueue[tuple[int, tuple[str, str]]] = FairQueue(1000)
    waiting: list[tuple[int, tuple[str, str]]] = []
    passed: Counter[tuple[str, str]] = Counter()  # how often `other` was passed over by `app` while it waited
    for number, step in enumerate(steps):
        if isinstance(step, tuple):
            waiting.append((number, step))
            assert queue.push((number, step), step)
        elif isinstance(step, int):
            gone = queue.drop(lambda item, step=step: item[0] == step)  # type: ignore[misc]
            waiting = [item for item in waiting if item not in gone]
        elif waiting:
            found = queue.pop()
            app, user = found[1]
            waiting.remove(found)
            assert not [item for item in waiting if item[1] == found[1] and item[0] < found[0]]  # in its own order
            for level, mine in ((0, app), (1, user)):
                rivals = {s[level] for _, s in waiting if level == 0 or s[0] == app} - {mine}
                for rival in rivals:
                    key = (f"{level}{app if level else ''}{rival}", mine)
                    passed[key] += 1
                    assert passed[key] <= 1
            for key in list(passed):
                if key[0] in (f"0{app}", f"1{app}{user}"):
                    del passed[key]
        for key in list(passed):  # who waits no more begins anew
            level, rest = int(key[0][0]), key[0][1:]
            if not any((s[0] if level == 0 else s[0] + s[1]) == rest for _, s in waiting):
                del passed[key]
        assert len(queue) == len(waiting)
        assert sorted(queue) == sorted(waiting)


def test_an_app_with_a_hundred_requests_delays_another_ones_by_one_turn() -> None:
    queue: FairQueue[str] = FairQueue(300)
    for number in range(100):
        assert queue.push(f"many {number}", ("many", "u"))
    assert queue.push("few", ("few", "u"))
    assert [queue.pop() for _ in range(3)] == ["many 0", "few", "many 1"]


def test_of_one_app_at_most_half_may_wait_and_what_has_no_share_may_fill_it() -> None:
    queue: FairQueue[int] = FairQueue(5)
    assert [queue.push(number, ("app", str(number))) for number in range(4)] == [True, True, True, False]
    assert [queue.push(number, ("other",)) for number in range(3)] == [True, True, False]
    assert queue.push(9, ("third",), extra=1)
    assert not queue.push(9, ("third",), extra=1)
    assert len(queue.drop(lambda _: True)) == 6
    assert [queue.push(number, ()) for number in range(6)] == [True] * 5 + [False]


def test_an_empty_queue_has_no_next() -> None:
    with pytest.raises(IndexError, match="empty"):
        FairQueue[int](3).pop()
