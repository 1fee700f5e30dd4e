"""What people ask for, and what it changes. What cannot be followed ends with its reason in pawl.dead-letters."""

from __future__ import annotations

from pawl_shared import events as e
from pawl_shared.ids import derived_id
from pawl_validator.domain import deployment, experiment
from pawl_validator.domain.deployment import Change, RefusedError
from pawl_validator.handlers.state import ModelState

DeploymentCommand = (
    e.PromoteCommand
    | e.RollbackCommand
    | e.PauseCommand
    | e.PinCommand
    | e.StartExperimentCommand
    | e.StopExperimentCommand
)


def decide(state: ModelState, command: DeploymentCommand) -> Change | None:
    """The change that a command asks for; None: it is so already. Raises RefusedError."""
    now, who, why = state.deployment, command.who, command.why
    if now is None:
        raise RefusedError(f"nothing is deployed as {command.model}: register a base first")
    if command.id in state.overtaken:
        raise RefusedError("a rollback was forced after this was asked for: ask again, if it is still wanted")
    match command:
        case e.PromoteCommand():
            _may_serve(state, command.version)
            return deployment.promote(now, command.version, who, why)
        case e.RollbackCommand():
            return deployment.rollback(now, who, why, command.version)
        case e.PauseCommand():
            return deployment.pause(now, command.paused, who, why)
        case e.PinCommand():
            if command.version is not None:
                _may_serve(state, command.version)
            return deployment.pin(now, command.version, who, why)
        case e.StartExperimentCommand():
            change = experiment.start(now, derived_id(command.id, "experiment"), command.experiment, who, why)
            assert change.deployment.experiment is not None, "it was started"
            for arm in change.deployment.experiment.arms:
                if arm.served.slot_file is not None:
                    _may_serve(state, arm.served.version)
            return change
        case e.StopExperimentCommand():
            return experiment.stop(now, who, why)


def _may_serve(state: ModelState, version: str) -> None:
    """Raises RefusedError for what the registry says no to, with its word for it."""
    stage = state.stages.get(version)
    if stage is None:
        raise RefusedError(f"{state.model} has no version {version[:12]}: `pawl models list` shows what there is")
    if stage == "rejected":
        raise RefusedError(f"{version[:12]} was rejected, and does not come back: train another one")
    if stage == "candidate":
        raise RefusedError(f"the gates have not decided about {version[:12]} yet")
