"""What a worker writes that has lost its partition is not restored; tests/integration/streams lets a real one hang."""

import asyncio
from types import SimpleNamespace
from typing import Any

from pawl_streams.fenced_table import FencedTable
from pawl_streams.lossless_faust import LosslessApp
from pawl_streams.ownership import EPOCH


class Changelog:
    """One partition, and workers that restore their tables from it."""

    def __init__(self) -> None:
        self.records: list[Any] = []

    def worker(self, generation: int) -> Any:
        async def made() -> Any:
            app = LosslessApp("test", broker="kafka://127.0.0.1:1", store="memory://", Table=FencedTable)
            app.consumer_generation_id = generation
            return app.Table("answers", default=dict, partitions=1)

        table = asyncio.run(made())
        self.restore(table)
        return table

    def restore(self, table: Any, *, at_once: bool = True) -> None:
        for batch in [self.records] if at_once else [[record] for record in self.records]:
            table.apply_changelog_batch(batch)

    def write(self, table: Any, key: str, said: str | None) -> None:
        value = {"said": said, EPOCH: table.owned.epoch(0, table.app.consumer_generation_id)} if said else None
        self.records.append(SimpleNamespace(key=key, value=value, message=SimpleNamespace(value=value, partition=0)))


def restored(table: Any) -> dict[str, str]:
    return {key: state["said"] for key, state in table.data.items()}


def test_the_owner_wins_over_one_that_only_believes_to_be_it() -> None:
    log = Changelog()
    hung = log.worker(1)
    log.write(hung, "a", "old")
    log.write(hung, "b", "old")
    owner = log.worker(2)
    log.write(owner, "a", "new")
    log.write(hung, "a", "late")  # when it goes on
    log.write(hung, "b", "late")  # nobody else has written there: it is as good as any
    for at_once in (True, False):
        fresh = log.worker(3)
        log.restore(fresh, at_once=at_once)
        assert restored(fresh) == {"a": "new", "b": "late"}
        assert fresh.owned.overruled(0) == {"a"}
        assert fresh.owned.overruled(0) == set()
    log.restore(hung)
    assert restored(hung) == {"a": "new", "b": "late"}


def test_of_two_that_found_the_same_the_later_generation_wins() -> None:
    log = Changelog()
    hung, owner = log.worker(4), log.worker(5)
    log.write(owner, "a", "new")
    log.write(hung, "a", "late")
    assert restored(log.worker(6)) == {"a": "new"}


def test_a_group_that_begins_to_count_again_is_no_stranger() -> None:
    log = Changelog()
    log.write(log.worker(7), "a", "old")
    log.write(log.worker(1), "a", "new")
    assert restored(log.worker(2)) == {"a": "new"}


def test_states_of_before_and_dropped_ones_are_restored_as_they_are() -> None:
    log = Changelog()
    first = log.worker(1)
    log.write(first, "a", "x")
    log.records[0].value.pop(EPOCH)
    log.write(first, "b", "x")
    log.write(first, "b", None)
    assert restored(log.worker(2)) == {"a": "x"}
