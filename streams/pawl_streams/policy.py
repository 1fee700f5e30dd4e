"""What streams makes of text and feedback, by model. How texts are scrubbed is read from a TOML file
(PAWL_STREAMS_POLICY) and checked at start; what feedback is worth stands in each model's policy on the log."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from phonenumbers import SUPPORTED_REGIONS
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from pawl_shared.errors import ConfigurationError
from pawl_shared.policies.reward_policy import RewardPolicy

Kind = Literal["email", "phone", "card", "iban", "ip", "secret"]
KINDS: frozenset[Kind] = frozenset(("email", "phone", "card", "iban", "ip", "secret"))


def _known_region(region: str) -> str:
    if region not in SUPPORTED_REGIONS:
        raise ValueError(f"{region!r} is no region; write its two letters of ISO 3166, such as US or DE")
    return region


class _Policy(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ScrubPolicy(_Policy):
    """enabled: whether text is scrubbed at all. phone_regions: whose national phone numbers are known, beside all that
    begin with a country code."""

    enabled: bool = True
    kinds: frozenset[Kind] = KINDS
    phone_regions: tuple[Annotated[str, AfterValidator(_known_region)], ...] = ("US",)


class FilePolicy(_Policy):
    """All that the file can set for a model."""

    scrub: ScrubPolicy = ScrubPolicy()


class Scrubbing(_Policy):
    """A default, and models that differ: what such a model does not name is as in the default."""

    default: FilePolicy = FilePolicy()
    models: Mapping[str, FilePolicy] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _models_inherit(cls, data: Any) -> Any:
        """Were it otherwise, a region for one model would quietly end what `[default.scrub]` does for all."""
        if not isinstance(data, dict) or not isinstance(data.get("models"), dict):
            return data
        return data | {"models": {name: _over(data.get("default"), own) for name, own in data["models"].items()}}

    def of(self, model: str) -> ScrubPolicy:
        """The policy of a model such as `default/assistant`."""
        return self.models.get(model, self.default).scrub


def _over(default: Any, own: Any) -> Any:
    """One table over another: key by key, and so on within them."""
    if not isinstance(default, dict) or not isinstance(own, dict):
        return own
    return default | {key: _over(default.get(key), value) for key, value in own.items()}


@dataclass(frozen=True)
class ModelPolicy:
    """What holds for one model now."""

    reward: RewardPolicy
    scrub: ScrubPolicy


DEFAULT_REWARDS = RewardPolicy()


def _default_rewards(_: str) -> RewardPolicy:
    return DEFAULT_REWARDS


@dataclass(frozen=True)
class Policies:
    """By model: how texts are scrubbed, from a file of whoever runs this; what feedback is worth, from the log."""

    scrubbing: Scrubbing = field(default_factory=Scrubbing)
    rewards: Callable[[str], RewardPolicy] = _default_rewards

    def of(self, model: str) -> ModelPolicy:
        """The policy of a model such as `default/assistant`."""
        return ModelPolicy(self.rewards(model), self.scrubbing.of(model))


def load(path: Path | None) -> Scrubbing:
    """The policies in a file; the defaults without one.

    Raises:
        ConfigurationError: it cannot be read; the message names the field and what is wrong with it.
    """
    if path is None:
        return Scrubbing()
    try:
        return Scrubbing.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"PAWL_STREAMS_POLICY={path}: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"PAWL_STREAMS_POLICY={path}: {where}: {first['msg']}") from error
