"""A model.yaml: every mistake has its line and says what to write; what is written is read again."""

import os
from datetime import timedelta
from pathlib import Path

import pytest

from pawl_cli.model_file import ModelFileError, WatchedFile, differences, load, parse, render
from pawl_shared.errors import ConfigurationError
from pawl_shared.policies.model_policy import Canary, Detectors, ModelPolicy, Triggers
from pawl_shared.policies.reward_policy import RewardPolicy, Scale, Weight
from pawl_shared.policies.watch_policy import Watch

FILE = Path("model.yaml")
POLICY = ModelPolicy(
    model="shop/assistant",
    purpose='Says "yes": to 3 # of 4\nin two lines',
    owner="Zoë <zoe@example.org>",
    base="./folder: odd",
    triggers=Triggers(cooldown=timedelta(minutes=90)),
    canary=Canary(share=0.25),
    detectors=Detectors(more={"a": Watch(of="words", where={"app": "x: y"}), "b": Watch(share=True)}),
    reward=RewardPolicy(thumb=Weight(trust=0.5), metrics={"stars: 5": Scale(weight=2, bad=1, good=5)}, signals={}),
)


@pytest.mark.parametrize("explained", [True, False])
@pytest.mark.parametrize("policy", [POLICY, ModelPolicy()])
def test_what_is_written_is_read_again(policy: ModelPolicy, explained: bool) -> None:
    text = render(policy, explained)
    assert parse(text, FILE) == policy
    assert ("# false alarms" in text) == explained


@pytest.mark.parametrize(
    ("text", "line", "key", "advice"),
    [
        ("model: a/b\ntriggers:\n  cooldwn: 10m\n", 3, "triggers.cooldwn", "did you mean `cooldown`?"),
        ("detectors:\n  more:\n    a:\n      off: x\n", 4, "detectors.more.a.off", "did you mean `of`?"),
        (
            "detectors:\n  more:\n    a:\n      by: adwin\n      settings:\n        delta: 0\n",
            5,
            "detectors.more.a.settings.delta",
            "greater than 0",
        ),
        ("detectors:\n  more:\n    a:\n      where: x\n", 4, "detectors.more.a.where", "by default {}"),
        ("models: a/b\n", 1, "models", "did you mean `model`?"),
        ("canary:\n  zzz: 1\n", 2, "canary.zzz", "there are: share,"),
        ("canary:\n  # a comment\n  share: 10\n", 3, "canary.share", "less than 1 (it is 10): part of the sessions"),
        ("detectors:\n  approval:\n    tolerance: often\n", 3, "detectors.approval.tolerance", "by default 0.0"),
        ("triggers:\n  cooldown: soon\n", 2, "triggers.cooldown", "such as 90s, 10m or 7d"),
        ("gates: [1, 2]\n", 1, "gates", "write a mapping of keys"),
        ("gates:\n", 1, "gates", "write a mapping of keys"),
        ("model: assistant\n", 1, "model", "with its tenant"),
        ("owner: a\nowner: b\n", 2, "owner", "stands twice, first in line 1"),
        ("- a\n- b\n", 1, "", "`pawl model init` writes one"),
        ("", 1, "", "`pawl model init` writes one"),
        ("canary: {share: 0.1\n", 2, "", "not YAML"),
        ("a: \x07\n", 1, "", "not YAML"),
        ("canary:\n  share: .nan\n", 2, "canary.share", "finite"),
        ("reward:\n  thumb:\n    wait: 1\n", 3, "reward.thumb.wait", "did you mean `weight`?"),
        ("reward:\n  metrics:\n    stars:\n      bat: 1\n", 4, "reward.metrics.stars.bat", "did you mean `bad`?"),
        ("reward:\n  metrics:\n    stars: {bad: 1, good: 1}\n", 3, "reward.metrics.stars", "the same number"),
        ("reward:\n  metrics:\n    stars: 4\n", 3, "reward.metrics.stars", "write a mapping"),
        ("reward:\n  signals:\n    a: {weight: 1}\n    a: {weight: 2}\n", 4, "reward.signals.a", "stands twice"),
        ("reward:\n  unchanged: 2\n", 2, "reward.unchanged", "a correction must leave alone"),
    ],
)
def test_a_mistake_has_its_place_and_its_cure(text: str, line: int, key: str, advice: str) -> None:
    with pytest.raises(ModelFileError) as caught:
        parse(text, FILE)
    (problem,) = caught.value.problems
    assert (problem.line, problem.key) == (line, key)
    assert advice in problem.what
    assert str(caught.value).startswith(f"model.yaml:{line}: ")


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ModelFileError) as caught:
        parse("triggers:\n  cooldwn: 10m\n  min_up: 0\ncanary:\n  share: 2\n", FILE)
    assert [problem.line for problem in caught.value.problems] == [2, 3, 5]


def test_a_file_that_is_not_there_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="pawl model init"):
        load(tmp_path / "none.yaml")


def test_differences_name_keys_and_both_values() -> None:
    after = POLICY.model_copy(update={"canary": Canary(share=0.5), "base": None})
    assert list(differences(POLICY, after)) == [
        ("base", "'./folder: odd'", "null"),
        ("canary.share", "0.25", "0.5"),
    ]


def test_a_watched_file_is_told_once_for_each_writing(tmp_path: Path) -> None:
    path = tmp_path / "model.yaml"
    path.write_text(render(POLICY))
    watched = WatchedFile(path)
    assert watched.changed() is None
    path.write_text("canary:\n  share: 3\n")
    with pytest.raises(ModelFileError):
        watched.changed()
    assert watched.changed() is None, "it was told"
    assert watched.policy == POLICY
    path.unlink()
    assert watched.changed() is None, "an editor writes it anew"
    path.write_text(render(ModelPolicy()))
    os.utime(path, ns=(1, 1))
    assert watched.changed() == ModelPolicy()


def test_a_detector_of_a_library_that_is_missing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.yaml"
    path.write_text("detectors:\n  more:\n    long:\n      of: words\n      by: adwin\n")
    monkeypatch.setattr("pawl_cli.model_file.find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=r"long \(by adwin\).*Install Pawl's extra `river`"):
        load(path)
    monkeypatch.setattr("pawl_cli.model_file.find_spec", lambda _: object())
    assert load(path).detectors.more["long"].by == "adwin"
