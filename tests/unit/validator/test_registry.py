"""Stages follow one another in one order only."""

import pytest

from pawl_validator.domain.registry import Stages, move

VERSION = "a" * 64


def test_a_version_goes_its_way() -> None:
    stages: Stages = {}
    for before, stage in (
        (None, "candidate"),
        ("candidate", "validated"),
        ("validated", "canary"),
        ("canary", "champion"),
    ):
        stages, found = move(stages, VERSION, stage)  # type: ignore[arg-type]
        assert found == before
    assert stages == {VERSION: "champion"}


@pytest.mark.parametrize(("stages", "stage"), [({}, "validated"), ({VERSION: "rejected"}, "champion")])
def test_what_skips_the_gates_or_was_rejected_cannot_serve(stages: Stages, stage: str) -> None:
    with pytest.raises(ValueError, match="cannot become"):
        move(stages, VERSION, stage)  # type: ignore[arg-type]
