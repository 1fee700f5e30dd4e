"""Experiments in a deployment: who may begin one, what its arms serve, and when it ends. Nothing is promoted by one."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pawl_shared.events import DeployedVersion, Experiment, ExperimentArm
from pawl_shared.policies.experiment_spec import ArmSpec, ExperimentSpec
from pawl_validator.domain.deployment import NO_REASON, Change, Deployment, RefusedError, revise


def start(now: Deployment, identity: UUID, spec: ExperimentSpec, who: str, why: str) -> Change:
    """Let the arms of an experiment answer. Raises RefusedError."""
    if now.challenger is not None:
        raise RefusedError(
            f"a canary of {now.challenger.version[:12]} runs, whose sessions an experiment would take: wait until it "
            "is decided, or end it with `pawl rollback`"
        )
    if now.experiment is not None:
        raise RefusedError(f"the experiment {now.experiment.name} runs: `pawl experiment stop` first")
    if now.pinned is not None:
        raise RefusedError(f"{now.model} is pinned to {now.pinned[:12]}: `pawl unpin` first")
    arms = tuple(_arm(now, name, arm) for name, arm in spec.arms.items())
    experiment = Experiment(
        id=identity,
        name=spec.name,
        arms=arms,
        alpha=spec.alpha,
        limit_sessions=spec.limit_sessions,
        limit_hours=spec.limit_hours,
    )
    shares = ", ".join(f"{arm.name} {arm.share:.0%} ({arm.served.version[:12]})" for arm in arms)
    reasons = (f"{who} began the experiment {spec.name}: {why or NO_REASON}", f"arms: {shares}")
    return Change(
        deployment=revise(now, experiment=experiment),
        kind="experiment",
        reasons=reasons,
        who=who,
        numbers={f"share_{arm.name}": arm.share for arm in arms},
    )


def stop(now: Deployment, who: str, why: str) -> Change:
    """End the experiment that runs. Raises RefusedError."""
    if now.experiment is None:
        raise RefusedError(f"no experiment runs on {now.model}")
    return _over(now, (f"{who} ended the experiment {now.experiment.name}: {why or NO_REASON}",), who)


def without(now: Deployment, version: str, who: str, why: str) -> Change | None:
    """The end of an experiment in which a version answers that was rejected; None: it answers in none."""
    running = now.experiment
    arm = next((arm for arm in running.arms if arm.served.version == version), None) if running else None
    if running is None or arm is None:
        return None
    end = f"the experiment {running.name} ends by it: its arm {arm.name} was that version"
    change = _over(now, (f"rejected by {who}: {why or NO_REASON}", end), who)
    return change.model_copy(update={"stages": ((version, "rejected"),)})


def limited(now: Deployment, sessions: int, started: datetime, at: datetime) -> Change | None:
    """The end by a limit of the experiment's own; None: it goes on."""
    experiment = now.experiment
    if experiment is None:
        return None
    hours = (at - started).total_seconds() / 3600
    if experiment.limit_sessions is not None and sessions >= experiment.limit_sessions:
        return _over(now, (f"the experiment {experiment.name} ended after its {sessions} sessions",), "pawl")
    if experiment.limit_hours is not None and hours >= experiment.limit_hours:
        return _over(
            now, (f"the experiment {experiment.name} ended after its {experiment.limit_hours:g} hours",), "pawl"
        )
    return None


def _over(now: Deployment, why: tuple[str, ...], who: str) -> Change:
    reasons = (*why, f"{now.champion.version[:12]} alone answers again")
    return Change(deployment=revise(now, experiment=None), kind="experiment-over", reasons=reasons, who=who)


def _arm(now: Deployment, name: str, spec: ArmSpec) -> ExperimentArm:
    return ExperimentArm(name=name, served=_served(now, name, spec.version), **spec.model_dump(exclude={"version"}))


def _served(now: Deployment, name: str, wanted: str) -> DeployedVersion:
    champion = now.champion
    base = champion.model_copy(update={"version": champion.base, "slot_file": None})
    if wanted in ("champion", "base"):
        return champion if wanted == "champion" else base
    passed = (base, champion, *(waiting.served for waiting in now.queue), *now.history, *now.withdrawn)
    found = {each.version: each for each in passed if each.version.startswith(wanted)}
    if not found:
        raise RefusedError(
            f"arm {name}: no version that begins with {wanted} has passed the gates and may serve; "
            "`pawl models list` shows what there is"
        )
    if len(found) > 1:
        raise RefusedError(f"arm {name}: more than one version begins with {wanted}: write more of its digits")
    (served,) = found.values()
    if (served.base, served.graph) != (champion.base, champion.graph):
        raise RefusedError(f"arm {name}: {served.version[:12]} was made for another base than the one that serves now")
    return served
