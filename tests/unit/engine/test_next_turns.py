"""What is read in quiet moments: whole parts of ended answers, the oldest first, and nothing while anybody waits."""

from dataclasses import dataclass
from typing import Any

import pytest

from pawl_inference.engine import pieces
from pawl_inference.engine.next_turns import PAUSE_SECONDS, NextTurns

CUTS = pieces.free(16)


@dataclass
class Ended:
    """As much of a Sequence as is looked at."""

    tokens: list[int]
    finished: str | None = "stop"
    prompt: tuple[int, ...] = tuple(range(20))
    version: str = "v"


def turns(*ended: Any, limit: int = 8) -> NextTurns:
    made = NextTurns(limit)
    for each in ended:
        made.add(each, CUTS)
    made.rest_from(100.0)
    return made


def test_whole_parts_of_prompt_and_answer_are_read_after_a_pause() -> None:
    found = turns(Ended([7] * 30))
    assert found.wait(100.0) == PAUSE_SECONDS
    assert found.take(100.0 + PAUSE_SECONDS / 2) is None
    turn = found.take(100.0 + PAUSE_SECONDS)
    assert turn is not None
    assert (turn.version, turn.prompt) == ("v", (*range(20), *[7] * 28))
    assert found.wait(200.0) is None, "taken"
    turn.past = 32
    found.go_on(turn)
    assert found.take(200.0) is turn
    turn.past = 48
    found.go_on(turn)
    assert found.wait(200.0) is None, "read to its end"


def test_a_request_meanwhile_takes_the_row_and_begins_the_pause_again() -> None:
    found = turns(Ended([7] * 30))
    turn = found.take(200.0)
    assert turn is not None
    turn.past, turn.prefix = 16, [b"first"]
    found.go_on(turn)
    found.interrupt(200.0)
    assert found.take(200.0) is None
    assert found.take(200.0 + PAUSE_SECONDS) is turn
    assert (turn.past, turn.prefix) == (0, [])


@pytest.mark.parametrize(
    "ended",
    [
        Ended([7] * 11),
        Ended([7] * 30, finished="cancelled"),
        Ended([7] * 30, finished="error"),
        Ended([], finished="expired"),
    ],
)
def test_what_brings_no_part_or_was_given_up_is_not_read(ended: Ended) -> None:
    assert turns(ended).wait(200.0) is None


def test_of_too_many_the_oldest_are_forgotten() -> None:
    found = turns(*(Ended([number] * 30) for number in range(3)), limit=2)
    assert [turn.prompt[-1] for turn in (found.take(200.0), found.take(200.0)) if turn] == [1, 2]
