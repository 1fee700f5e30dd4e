"""The filter of known keys never denies one that was added, whatever was merged when."""

import numpy as np

from pawl_shared.stores.key_filter import RECENT, KeyFilter


def test_what_was_added_is_found_and_nearly_nothing_else() -> None:
    rng = np.random.default_rng(1)
    hashes = rng.integers(0, 2**64, size=4 * RECENT, dtype=np.uint64)
    known, others = hashes[: 3 * RECENT], hashes[3 * RECENT :]
    found = KeyFilter(known[:1000])
    for start in range(1000, len(known), 5000):
        found.add(known[start : start + 5000])
        assert found.may_hold(known[: start + 5000]).all()
    assert not found.may_hold(others).any()


def test_an_empty_one_knows_nothing() -> None:
    assert not KeyFilter(np.empty(0, np.uint64)).may_hold(np.array([0, 7], np.uint64)).any()
