"""A model's policy: what its values may be, and that its name is its content."""

import json
from datetime import timedelta

import pytest
from pydantic import ValidationError

from pawl_shared.policies.model_policy import Canary, ModelPolicy, Triggers


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", timedelta(seconds=90)),
        ("10 m", timedelta(minutes=10)),
        ("1.5h", timedelta(minutes=90)),
        ("7d", timedelta(days=7)),
        ("2w", timedelta(days=14)),
        ("PT20S", timedelta(seconds=20)),
        (45, timedelta(seconds=45)),
    ],
)
def test_durations_have_units(text: object, expected: timedelta) -> None:
    assert Triggers.model_validate({"cooldown": text}).cooldown == expected


@pytest.mark.parametrize("text", ["soon", "10", "m", "-5m", "10y"])
def test_what_is_no_duration_says_how_one_is_written(text: str) -> None:
    with pytest.raises(ValidationError, match="such as 90s, 10m or 7d"):
        Triggers.model_validate({"cooldown": text})


@pytest.mark.parametrize(
    "content",
    [
        {"detectors": {"alpha": 1e-320}},
        {"detectors": {"approval": {"reference_sessions": 10**400}}},
        {"triggers": {"min_up": 2**31}},
        {"triggers": {"more_data": 1e308}},
        {"triggers": {"every": "1e9d"}},
        {"triggers": {"every": "999999d"}},
        {"triggers": {"every": "9" * 400 + "d"}},
        {"canary": {"limit_hours": 1e300}},
        {"canary": {"alpha_promote": 5e-324}},
    ],
)
def test_numbers_that_no_decision_can_compute_with_are_refused(content: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ModelPolicy.model_validate(content)


def test_the_digest_names_the_values_and_survives_the_log() -> None:
    policy = ModelPolicy(purpose="helps \u2603", canary=Canary(share=0.2))
    assert ModelPolicy.model_validate_json(policy.model_dump_json()).digest == policy.digest
    assert ModelPolicy(canary=Canary(share=0.2), purpose="helps \u2603").digest == policy.digest
    assert policy.model_copy(update={"purpose": "else"}).digest != policy.digest
    assert ModelPolicy().digest != policy.digest


def test_fields_of_a_newer_version_are_ignored_as_in_all_events() -> None:
    grown = json.loads(ModelPolicy().model_dump_json()) | {"new": 1}
    assert ModelPolicy.model_validate(grown) == ModelPolicy()
