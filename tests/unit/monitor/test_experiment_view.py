"""The console's panel of an experiment."""

from types import SimpleNamespace
from typing import Any
from uuid import UUID

from support.samples import BASE, MODEL, SAMPLES, VERSION, envelope

from pawl_monitor.console.pages import Pages
from pawl_monitor.views.experiments import Experiment, experiment_of
from pawl_shared import events as e

REPORT = next(event for event in SAMPLES if isinstance(event, e.ExperimentObserved))
ARMS = tuple(e.ExperimentArm(name=name, share=0.5, served=VERSION) for name in ("plain", "<kind>"))
EXPERIMENT = e.Experiment(id=REPORT.experiment, name="tone", arms=ARMS, alpha=0.05)


def fact(event: e.Event) -> dict[str, Any]:
    return {"value": event.model_dump(mode="json")}


def deployed(revision: int, experiment: e.Experiment | None) -> dict[str, Any]:
    return fact(
        e.DeploymentChanged(
            **envelope(revision), model=MODEL, revision=revision, champion=VERSION, experiment=experiment,
            change="experiment" if experiment else "experiment-over",
        )
    )  # fmt: skip


def told(low: float, high: float) -> dict[str, Any]:
    gap = e.ArmCompared(arm="<kind>", control="plain", blocks=200, difference=0.1, low=low, high=high)
    arms = (*REPORT.arms, REPORT.arms[0].model_copy(update={"arm": "<kind>"}))
    return fact(REPORT.model_copy(update={"arms": arms, "compared": (gap,)}))


def render(view: Experiment | None) -> str:
    template = Pages()._environment.get_template("_experiment.html")
    return template.render(view=SimpleNamespace(experiment=view))


def test_without_one_the_panel_says_how_to_begin() -> None:
    assert experiment_of([deployed(1, None)], []) is None
    assert "pawl experiment init" in render(None)


def test_one_that_has_just_begun_shows_its_arms() -> None:
    view = experiment_of([deployed(2, EXPERIMENT)], [])
    assert view is not None
    assert (view.running, view.sessions, [arm.version for arm in view.arms]) == (True, 0, [BASE, BASE])
    assert "&lt;kind&gt;" in render(view)


def test_its_figures_and_what_they_say() -> None:
    for low, high, word in ((0.02, 0.2, "better"), (-0.2, -0.02, "worse"), (-0.1, 0.1, "not told apart")):
        view = experiment_of([deployed(3, None), deployed(2, EXPERIMENT)], [told(low, high)])
        assert view is not None
        assert (view.running, view.sessions) == (False, 600)
        assert [arm.verdict for arm in view.arms] == ["", word]
        html = render(view)
        assert f"points, {word}" in html
        assert "is over" in html
        assert "Take care: people rate" in html


def test_a_report_of_an_earlier_one_is_not_taken_for_it() -> None:
    other = EXPERIMENT.model_copy(update={"id": UUID(int=1)})
    view = experiment_of([deployed(4, other)], [told(0.1, 0.2)])
    assert view is not None
    assert view.sessions == 0
