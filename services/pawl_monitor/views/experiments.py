"""The experiment that runs, or the latest one, as the validator reports it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from pawl_monitor.views.alarms import Rate

Fact = dict[str, Any]
SHOWN = ("words", "seconds")  # of the plain means; all of them are in the API of records and `pawl experiment status`


class Arm(BaseModel):
    """One arm. `difference`, `low`, `high`: its approval less the control's; none: it is that, or nothing is known."""

    arm: str
    version: str
    share: float
    sessions: int = 0
    rated: Rate | None = None
    approval: Rate | None = None
    means: dict[str, float] = {}
    difference: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def verdict(self) -> str:
        """What the interval of the difference says."""
        if self.low is None or self.high is None:
            return ""
        return "better" if self.low > 0 else "worse" if self.high < 0 else "not told apart"


class Experiment(BaseModel):
    """All of it."""

    experiment: str
    name: str
    running: bool
    sessions: int = 0
    arms: list[Arm]
    warnings: list[str] = []


def experiment_of(deployments: list[Fact], reports: list[Fact]) -> Experiment | None:
    """By the deployments, the highest revision first, and the reports, the latest first; None: there never was one."""
    value = next((d["value"] for d in deployments if d["value"].get("experiment")), None)
    if value is None:
        return None
    begun = value["experiment"]
    running = deployments[0]["value"].get("experiment") is not None
    report = next((r["value"] for r in reports if r["value"]["experiment"] == begun["id"]), None)
    arms = [_arm(arm, report) for arm in begun["arms"]]
    told = {"sessions": report["sessions"], "warnings": report["warnings"]} if report else {}
    return Experiment(experiment=begun["id"], name=begun["name"], running=running, arms=arms, **told)


def _arm(arm: Fact, report: Fact | None) -> Arm:
    found = Arm(arm=arm["name"], version=arm["served"]["version"], share=arm["share"])
    if report is None:
        return found
    seen = next(each for each in report["arms"] if each["arm"] == arm["name"])
    gap = next((each for each in report["compared"] if each["arm"] == arm["name"] and each["blocks"]), None)
    return found.model_copy(
        update={
            "sessions": seen["sessions"],
            "rated": Rate(**seen["rated"]),
            "approval": Rate(**seen["approval"]),
            "means": {name: seen["means"][name] for name in SHOWN if name in seen["means"]},
            **({name: gap[name] for name in ("difference", "low", "high")} if gap else {}),
        }
    )
