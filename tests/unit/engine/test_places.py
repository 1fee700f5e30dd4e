"""Slots that rows run on together are brought together, once that is worth moving them."""

import math
from random import Random

from pawl_inference.engine.places import Places


def spread(places: Places, slots: list[int]) -> int:
    taken = [places.of(slot) for slot in slots]
    return max(taken) - min(taken) + 1


def test_what_lies_side_by_side_or_alone_stays() -> None:
    places = Places(4)
    for slots in ([], [3], [1, 2], [0, 1, 2, 3]):
        assert not [pair for _ in range(100) for pair in places.gather(slots)]


def test_slots_apart_are_moved_once_when_as_much_was_read_in_vain() -> None:
    places = Places(12, exchange=5)
    assert [places.gather([0, 3]) for _ in range(4)] == [[], [], [(3, 1)], []]  # two in vain each time
    assert [places.of(slot) for slot in range(4)] == [0, 3, 2, 1]


def test_as_few_as_possible_are_moved() -> None:
    places = Places(12, exchange=0)
    assert places.gather([0, 9, 10, 11]) == [(0, 8)]


def test_no_slot_is_lost_and_any_set_comes_together() -> None:
    places, random = Places(12, exchange=0), Random(0)
    lies = list(range(12))  # what the arrays would hold
    for _ in range(200):
        slots = random.sample(range(12), random.randint(2, 8))
        for first, second in places.gather(slots):
            lies[first], lies[second] = lies[second], lies[first]
        assert [lies[places.of(slot)] for slot in range(12)] == list(range(12))
        assert spread(places, slots) == len(slots)


def test_batches_that_change_with_every_step_move_no_more_than_they_would_read_in_vain() -> None:
    places, random, vain, moved = Places(12, exchange=5), Random(0), 0, 0
    for _ in range(500):
        slots = random.sample(range(12), 3)
        vain += spread(places, slots) - 3
        moved += len(places.gather(slots))
    assert moved
    assert 5 * moved <= vain


def test_without_a_gain_nothing_is_moved() -> None:
    places = Places(12, exchange=math.inf)
    assert not [pair for _ in range(1000) for pair in places.gather([0, 11])]
