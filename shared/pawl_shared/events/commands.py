"""What people and programs ask for, with who and why."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from pydantic import Field, model_validator

from pawl_shared.events.base import Digest, Event
from pawl_shared.policies.model_policy import ModelPolicy


class Command(Event):
    """Somebody wants something."""

    model: str
    who: str = Field(min_length=1, max_length=200)
    why: str = ""


class RegisterModelCommand(Command):
    TYPE = "pawl.command.register-model.v1"

    base: str = Field(description="hub id, local folder, GGUF file, or a built-in name")
    precision: Literal["auto", "int8", "fp16", "fp32"] = Field(
        default="auto", description="of the serving graph; auto: as the validator's PAWL_GRAPH_PRECISION says"
    )


class ConfigureModelCommand(Command):
    """A model's policy, valid for all that is decided after it. All values are in it, so that later defaults change
    nothing of what was decided."""

    TYPE = "pawl.command.configure-model.v1"

    policy: ModelPolicy
    digest: Digest = Field(description="of the policy: its name in what is decided under it")

    @model_validator(mode="after")
    def _of_its_model(self) -> ConfigureModelCommand:
        if self.policy.model != self.model:
            raise ValueError(f"a policy of {self.policy.model} cannot be that of {self.model}")
        return self


class PromoteCommand(Command):
    TYPE = "pawl.command.promote.v1"

    version: Digest


class ApproveCommand(Command):
    """A person's verdict on a version that waits for one, where the policy asks for it (`canary.approval`)."""

    TYPE = "pawl.command.approve.v1"

    version: Digest
    verdict: Literal["approve", "reject"] = "approve"


class RollbackCommand(Command):
    TYPE = "pawl.command.rollback.v1"

    version: Digest | None = Field(
        default=None,
        description="to take away: it is refused where that is not on trial any more, or champion without a trial; "
        "none: whatever is that when it is handled",
    )
    forced: dict[str, int] | None = Field(
        default=None,
        description="carried out in the validator's place, after all that it had handled: everything before these "
        "offsets, by topic/partition; none: the validator carries it out itself",
    )
    overtakes: tuple[UUID, ...] = Field(
        default=(),
        description="commands about who serves that were asked for before it was forced, and not handled by then: "
        "they are refused when the validator meets them",
    )


class PinCommand(Command):
    """The model stays on one version: no canary, no promotion, until the pin is lifted. Training goes on."""

    TYPE = "pawl.command.pin.v1"

    version: Digest | None = Field(default=None, description="to serve; none: the pin is lifted")


class RetrainCommand(Command):
    TYPE = "pawl.command.retrain.v1"

    recipe: str = "auto"


class PauseCommand(Command):
    TYPE = "pawl.command.pause.v1"

    paused: bool = True
