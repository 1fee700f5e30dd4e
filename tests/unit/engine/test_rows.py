"""Rows and their cache move together, and decoding rows stay contiguous."""

import random
from dataclasses import dataclass
from typing import Any, cast

from support.tiny_engine import toy_spec

from pawl_inference.engine.kv_cache import KvCache
from pawl_inference.engine.rows import Rows
from pawl_inference.engine.sequence import Sequence


@dataclass
class Seated:
    """What Rows looks at in a request, and a mark that is written into its row of the cache."""

    mark: int
    prompt_left: int = 0
    past: int = 4
    finished: str | None = None


def seated(value: Any) -> Sequence:
    return cast(Sequence, value)


def test_each_request_keeps_its_own_cache_through_any_history() -> None:
    for seed in range(20):
        chance = random.Random(seed)
        cache = KvCache(toy_spec(), rows=5, context_length=8)
        rows, decoding = Rows(cache, 5), set()
        for mark in range(1, 60):
            if rows.free and chance.random() < 0.6:
                rows.add(seated(Seated(mark)))
                for buffer in cache.buffers:
                    buffer[len(rows.members) - 1, :, :4] = mark
            elif (row := rows.next_prompt()) is not None and chance.random() < 0.6:
                decoding.add(cast(Seated, rows.members[row]).mark)
                rows.start_decoding(row)
            elif rows.members:
                gone = cast(Seated, chance.choice(rows.members))
                gone.finished = "stop"
                decoding.discard(gone.mark)
                rows.drop_finished()
                assert gone not in rows.members
            marks = [cast(Seated, member).mark for member in rows.members]
            assert {cast(Seated, member).mark for member in rows.decoders()} == decoding
            for buffer in cache.buffers:
                assert [set(buffer[row, 0, :4].flat) for row in range(len(marks))] == [{mark} for mark in marks]


def test_prompts_take_turns_between_the_oldest_and_the_shortest() -> None:
    rows = Rows(KvCache(toy_spec(), rows=3, context_length=8), 3)
    for mark, left in ((1, 900), (2, 50), (3, 10)):
        rows.add(seated(Seated(mark, prompt_left=left)))
    assert [rows.next_prompt() for _ in range(4)] == [0, 2, 0, 2]
