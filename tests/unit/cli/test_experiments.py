"""An experiment's file, and its report for people."""

from io import StringIO
from pathlib import Path
from uuid import UUID

import pytest
from rich.console import Console
from support.samples import BASE, MODEL, VERSION, envelope

from pawl_cli.log import experiments
from pawl_cli.model_file import ModelFileError
from pawl_shared import events as e
from pawl_shared.policies.experiment_spec import ExperimentSpec

FILE = Path("experiment.yaml")


def load(text: str, tmp_path: Path) -> ExperimentSpec:
    file = tmp_path / "experiment.yaml"
    file.write_text(text)
    return experiments.load(file)


def test_the_file_that_is_written_can_be_started(tmp_path: Path) -> None:
    spec = load(experiments.EXAMPLE.format(model="shop/bot"), tmp_path)
    assert (spec.name, spec.model, list(spec.arms), spec.limit_hours) == (
        "friendlier", "shop/bot", ["plain", "friendly"], 336,
    )  # fmt: skip
    assert spec.arms["friendly"].system is not None


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("name: x\narms:\n  a: {share: 0.7}\n  b: {share: 0.7, top_p: 1}\n", 2, "add up to 1.4"),
        ("name: x\narms:\n  a: {share: 0.5}\n  b: {share: 0.5}\n", 2, "b is the same as a"),
        ("name: x\narms:\n  a: {share: 0.5}\n", 2, "at least 2"),
        ("name: x\narms:\n  a: {share: 0.5}\n  b:\n    share: 0.5\n    sistem: Hi\n", 6, "did you mean `system`"),
        ("name: x\narms:\n  a: {share: 0.5}\n  b:\n    share: 0.5\n    version: new\n", 6, "hex digits"),
        ("name: Big Name\narms:\n  a: {share: 0.5}\n  b: {share: 0.4, top_p: 1}\n", 1, "small letters"),
        ("arms: [1, 2]\n", 1, "Field required"),
    ],
)
def test_a_mistake_is_named_with_its_line(text: str, line: int, what: str, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError) as found:
        load(text, tmp_path)
    assert any(problem.line == line and what in problem.what for problem in found.value.problems), found.value


def arm(name: str, **changes: object) -> e.ExperimentArm:
    return e.ExperimentArm(name=name, share=0.5, served=VERSION, **changes)  # type: ignore[arg-type]


EXPERIMENT = e.Experiment(id=UUID(int=9), name="tone", arms=(arm("plain"), arm("kind", system="Hi")), alpha=0.05)


def deployed(number: int, change: str, experiment: e.Experiment | None, *reasons: str) -> e.DeploymentChanged:
    return e.DeploymentChanged(
        **envelope(number), model=MODEL, revision=number, champion=VERSION, change=change, experiment=experiment,
        reasons=reasons,
    )  # fmt: skip


def report(**changes: object) -> e.ExperimentObserved:
    rate = e.Interval(point=0.5, low=0.4, high=0.6, n=300)
    arms = [
        e.ArmObserved(
            arm=name,
            version=BASE,
            share=0.5,
            sessions=300,
            rated=rate,
            approval=rate,
            means={"words": 9, "metric/sold": 0.25, "cut": 0},
        )
        for name in ("plain", "kind")
    ]
    gap = e.ArmCompared(arm="kind", control="plain", blocks=140, difference=0.1, low=0.02, high=0.18)
    found = e.ExperimentObserved(
        **envelope(5), model=MODEL, version=BASE, experiment=UUID(int=9), name="tone", alpha=0.05, sessions=600,
        arms=tuple(arms), compared=(gap,), warnings=("rates differ",),
    )  # fmt: skip
    return found.model_copy(update=changes)


def test_what_stands_on_the_log_is_found_and_told() -> None:
    begun, over = deployed(2, "experiment", EXPERIMENT), deployed(4, "experiment-over", None, "ada ended it")
    (running,) = experiments.standings([begun], MODEL)
    assert (running.report, running.ended) == (None, "")
    assert list(experiments.sentences(running)) == ["No session of it is over yet."]
    paused = deployed(3, "paused", EXPERIMENT)
    (standing,) = experiments.standings([begun, paused, over, report()], MODEL)
    assert standing.ended == "ada ended it"
    told = list(experiments.sentences(standing))
    assert told[0].startswith("kind is better than plain: +10.0 points (+2.0 to +18.0)")
    assert told[1] == "Take care: rates differ."
    console = Console(file=StringIO(), width=200)
    console.print(experiments.table_of(standing))
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "50.0% (40.0% .. 60.0%)" in printed
    assert "+2.0 .. +18.0" in printed
    assert "metric/sold" in printed
    assert "cut" not in printed
    assert experiments.standings([begun], "another/model") == []


@pytest.mark.parametrize(("low", "high", "word"), [(-0.2, -0.1, "worse than"), (-0.1, 0.1, "not told apart from")])
def test_verdicts(low: float, high: float, word: str) -> None:
    gap = e.ArmCompared(arm="kind", control="plain", blocks=9, difference=0.0, low=low, high=high)
    standing = experiments.Standing(EXPERIMENT, report(compared=(gap,)))
    assert word in next(iter(experiments.sentences(standing)))
