"""Commits beside the runner: one at a time, and what follows each comes before anything else is committed."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from pawl_shared.errors import FencedError
from pawl_shared.running.committing import SWITCH_SECONDS, Committing, quick_switches
from pawl_shared.stores.memory import MemoryStore
from pawl_shared.stores.port import Commit, StateKey, StoredState

KEY = StateKey("f", "k")


class Held(MemoryStore):
    """Commits when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.let = threading.Event()

    def commit(self, commit: Commit) -> None:
        assert self.let.wait(10)
        super().commit(commit)


def state(text: str) -> Commit:
    return Commit(states={KEY: StoredState(text)})


def test_the_next_batch_waits_for_the_commit_and_for_what_follows_it() -> None:
    store, done = Held(), list[str]()
    committing = Committing("test", store, ThreadPoolExecutor(1))
    committing.commit(state("1"), lambda: done.append("first"))
    assert committing.pending
    assert store.load([KEY]) == {}
    assert not done
    store.let.set()
    committing.commit(state("2"), lambda: done.append("second"))
    assert done == ["first"]
    committing.close()
    assert done == ["first", "second"]
    assert store.load([KEY])[KEY].value == "2"


def test_what_the_store_raises_comes_out_once_and_nothing_follows() -> None:
    class Fenced(MemoryStore):
        def commit(self, commit: Commit) -> None:
            raise FencedError("another one")

    committing = Committing("test", Fenced(), ThreadPoolExecutor(1))
    committing.commit(state("1"), lambda: pytest.fail("it was not committed"))
    with pytest.raises(FencedError):
        committing.settle()
    committing.close()


def test_without_a_thread_it_is_done_at_once() -> None:
    store, done = MemoryStore(), list[int]()
    Committing("test", store).commit(state("1"), lambda: done.append(1))
    assert done == [1]
    assert store.load([KEY])[KEY].value == "1"


def test_switches_are_quick_for_a_while_and_then_as_they_were() -> None:
    usual = sys.getswitchinterval()
    with quick_switches():
        assert sys.getswitchinterval() == pytest.approx(SWITCH_SECONDS)
    assert sys.getswitchinterval() == usual
