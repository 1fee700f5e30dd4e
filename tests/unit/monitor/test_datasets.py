"""What the trigger counts is what the trainer can use."""

from pawl_monitor.storage.datasets import usable


def test_liked_answers_that_were_cut_do_not_count_towards_a_run() -> None:
    rows = [
        {"split": split, "kind": "binary", "label": label, "finished": finished}
        for split in ("train", "heldout")
        for label in (True, False)
        for finished in (True, False)
    ]
    found = usable([*rows, {"split": "train", "kind": "pair", "label": None, "finished": False}])
    assert (found.up, found.down, found.pairs) == (1, 2, 1)
    assert (found.heldout_up, found.heldout_down) == (2, 2)
