import re
from pathlib import Path

import pytest

from pawl_shared.errors import ConfigurationError
from pawl_streams.policy import Policies, RewardPolicy, load

PAGE = Path(__file__).parents[3] / "docs" / "feedback.md"


def written(folder: Path, text: str) -> Path:
    path = folder / "policy.toml"
    path.write_text(text)
    return path


def test_without_a_file_the_defaults_hold_for_every_model() -> None:
    assert load(None) == Policies()
    assert Policies().of("any/model").reward == RewardPolicy()


def test_a_model_can_differ(tmp_path: Path) -> None:
    text = '[models."default/support".reward]\nunchanged = 0.8\n[models."default/support".scrub]\nenabled = false\n'
    policies = load(written(tmp_path, text))
    assert policies.of("default/support").reward.unchanged == 0.8
    assert not policies.of("default/support").scrub.enabled
    assert policies.of("default/assistant").scrub.enabled


def test_what_a_model_does_not_name_is_as_in_the_default(tmp_path: Path) -> None:
    text = """
    [default.scrub]
    phone_regions = ["DE"]
    [default.reward]
    signals.copied = { weight = 0.5 }
    thumb = { weight = 2.0, trust = 0.5 }
    [models.m.reward]
    signals.accepted = { weight = 0.1 }
    thumb = { trust = 0.9 }
    """
    policy = load(written(tmp_path, text)).of("m")
    assert policy.scrub.phone_regions == ("DE",)
    assert (policy.reward.thumb.weight, policy.reward.thumb.trust) == (2.0, 0.9)
    assert {name: scale.weight for name, scale in policy.reward.signals.items()} == {"copied": 0.5, "accepted": 0.1}


def test_the_example_in_the_documentation_is_valid(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    policies = load(written(tmp_path, example))
    assert policies != Policies()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[default.reward.thumb]\nweight = -1", "default.reward.thumb.weight"),
        ("[default.reward]\nclap = 1", "default.reward.clap"),
        ("[default.reward.metrics.stars]\nbad = 1\ngood = 1", "same number"),
        ("[default.reward.thumb]\nweight = nan", "weight"),
        ('[default.scrub]\nphone_regions = ["Germany"]', "no region"),
        ('[default.scrub]\nkinds = ["names"]', "kinds"),
        ("default =", "PAWL_STREAMS_POLICY"),
        ("models = 3", "models"),
        ("default = 3\n[models.m]\n", "default"),
        ("[models]\nm = 3", "models.m"),
        ("[models.m.reward]\nthumb = 3", "models.m.reward.thumb"),
    ],
)
def test_a_wrong_file_is_refused_with_the_field(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        load(written(tmp_path, text))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="absent"):
        load(tmp_path / "absent.toml")
