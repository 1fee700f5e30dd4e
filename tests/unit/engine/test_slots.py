"""Who is in which slot: who holds one keeps it, who was asked for the longest ago makes room."""

from pathlib import Path

import numpy as np
import pytest
from support.tiny_engine import BASE, GRAPH, toy_spec

from pawl_inference.engine import slots
from pawl_inference.engine.port import NoFreeSlotError, UnknownVersionError
from pawl_inference.engine.slots import SlotPool
from pawl_shared.models import slot_format
from pawl_shared.models.tensor_file import Tensors


@pytest.fixture
def pool(tmp_path: Path) -> "Filled":
    return Filled(tmp_path)


class Filled(SlotPool):
    """A pool that makes the files of its versions itself."""

    def __init__(self, folder: Path, count: int = 2) -> None:
        super().__init__(toy_spec(), GRAPH, count)
        self._folder = folder
        self.loads = 0

    def add(self, version: str, *, insist: bool = False) -> None:
        if not self.revive(version):
            path = self._folder / version
            arrays: Tensors = {}
            for site in self.spec.sites:
                for name, width in ((site.a, site.inputs), (site.b, sum(site.outputs))):
                    arrays[name] = np.ones((site.blocks * self.spec.rank, width), np.float32)
            slot_format.write_slots(path, arrays, adapter=version, base=BASE, graph=GRAPH, rank=self.spec.rank)
            self.activate(version, self.load(version, path, insist=insist))
            self.loads += 1


def test_the_version_that_was_asked_for_the_longest_ago_makes_room(pool: Filled) -> None:
    pool.add("a")
    pool.add("b")
    pool.release(pool.hold("a"))
    pool.add("c")
    assert pool.live() == {"a", "c"}
    with pytest.raises(UnknownVersionError):
        pool.hold("b")


def test_what_is_held_never_makes_room(pool: Filled) -> None:
    pool.add("a")
    held = pool.hold("a")
    for version in ("b", "c", "d"):
        pool.add(version)
        assert pool.live() == {"a", version}
    pool.retire("a")
    with pytest.raises(NoFreeSlotError, match="2 adapter slots"):  # and what is live does not, while another drains
        pool.add("e")
    assert pool.live() == {"d"}
    pool.release(held)
    pool.add("e")
    assert pool.live() == {"d", "e"}


def test_who_insists_makes_one_version_finish_what_it_has(pool: Filled) -> None:
    pool.add("a")
    pool.add("b")
    held = [pool.hold("a"), pool.hold("b"), pool.hold("a")]  # `a` was asked for last, but is there the longest
    with pytest.raises(NoFreeSlotError):
        pool.add("c")
    assert pool.live() == {"a", "b"}
    for _ in range(3):  # one at a time
        with pytest.raises(NoFreeSlotError):
            pool.add("c", insist=True)
        assert pool.live() == {"b"}
    with pytest.raises(UnknownVersionError):
        pool.hold("a")
    pool.release(held[0])
    pool.release(held[2])
    pool.add("c", insist=True)
    assert pool.live() == {"b", "c"}


def test_who_insisted_gets_the_slot_and_not_the_requests_that_come_for_what_was_in_it(pool: Filled) -> None:
    pool.add("a")
    pool.add("b")
    held = [pool.hold("a"), pool.hold("b")]
    for version, insist in (("c", True), ("a", False), ("d", False)):
        with pytest.raises(NoFreeSlotError):
            pool.add(version, insist=insist)
    assert pool.live() == {"b"}
    pool.release(held[0])
    with pytest.raises(NoFreeSlotError):
        pool.add("a")
    pool.add("c", insist=True)
    assert pool.live() == {"b", "c"}


def test_the_slot_of_one_that_asks_no_more_is_for_all(pool: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "KEPT_SECONDS", 0.0)
    pool.add("a")
    pool.add("b")
    held = [pool.hold("a"), pool.hold("b")]
    with pytest.raises(NoFreeSlotError):
        pool.add("c", insist=True)
    pool.add("a")
    assert pool.live() == {"a", "b"}
    assert pool.hold("a") == held[0]


def test_who_insists_takes_what_is_idle_while_another_finishes_a_long_answer(pool: Filled) -> None:
    pool.add("a")
    pool.add("b")
    pool.hold("a")
    held = pool.hold("b")
    with pytest.raises(NoFreeSlotError):
        pool.add("c", insist=True)
    pool.release(held)
    pool.add("c", insist=True)
    assert pool.live() == {"c"}


def test_a_version_that_comes_back_before_its_slot_is_filled_anew_is_there_at_once(pool: Filled) -> None:
    pool.add("a")
    slot = pool.hold("a")
    pool.retire("a")
    pool.add("a")  # while it drains
    assert (pool.hold("a"), pool.loads, pool.used()) == (slot, 1, 1)
    pool.release(slot)
    pool.release(slot)
    pool.retire("a")
    pool.add("b")
    pool.add("c")
    pool.add("a")
    assert pool.loads == 4
    assert pool.live() == {"a", "c"}


def test_nothing_is_moved_while_a_slot_is_filled(tmp_path: Path) -> None:
    pool = Filled(tmp_path, count=9)
    for version in "abcdefgh":
        pool.add(version)
    filled = pool._reserve("i", insist=False)
    assert pool.places([0, 7]) == pool.places([0, 7]) == [0, 7]
    pool.discard(filled)
    assert [abs(places[0] - places[1]) for places in (pool.places([0, 7]), pool.places([0, 7, None]))] == [1, 1]
