"""What streams makes of feedback and text, by model: read from a TOML file (PAWL_STREAMS_POLICY), checked at start."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from phonenumbers import SUPPORTED_REGIONS
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from pawl_shared.errors import ConfigurationError
from pawl_shared.events import Finite, Fraction

Kind = Literal["email", "phone", "card", "iban", "ip", "secret"]
KINDS: frozenset[Kind] = frozenset(("email", "phone", "card", "iban", "ip", "secret"))


def _known_region(region: str) -> str:
    if region not in SUPPORTED_REGIONS:
        raise ValueError(f"{region!r} is no region; write its two letters of ISO 3166, such as US or DE")
    return region


class _Policy(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Weight(_Policy):
    """weight: of one statement in the mean. trust: how far it may move from 0.5 (undecided); 1: all the way."""

    weight: Finite = Field(default=1.0, ge=0)
    trust: Fraction = 1.0


class Scale(Weight):
    """A number's scale: `bad` becomes 0, `good` becomes 1, linear between them and cut off outside."""

    bad: Finite = 0.0
    good: Finite = 1.0

    @model_validator(mode="after")
    def _has_a_length(self) -> Scale:
        if self.bad == self.good:
            raise ValueError("bad and good are the same number")
        return self


def _signals() -> Mapping[str, Scale]:
    """What people's clicks suggest weighs less than what they say."""
    return {
        "accepted": Scale(weight=0.25),
        "copied": Scale(weight=0.25),
        "regenerated": Scale(weight=0.25, bad=1.0, good=0.0),
    }


class RewardPolicy(_Policy):
    """From feedback to a reward in [0, 1].

    Comparisons weigh nothing unless a policy says so: that one answer beat another says nothing about how good either
    is; they become preference pairs in datasets. Comments and metrics that are not named here have no scale.

    unchanged: share of an answer's words that a correction must leave alone to be better than 0; 1: every correction
    is 0. At 0.5, one that keeps 95 % of the words scores 0.9.
    discount: an outcome's weight for each further answer before the session's last; 1: the same for all of them, 0: the
    last alone.
    """

    thumb: Weight = Weight()
    rating: Weight = Weight()
    correction: Weight = Weight()
    comparison: Weight = Weight(weight=0.0)
    outcome: Weight = Weight()
    signals: Mapping[str, Scale] = Field(default_factory=_signals)
    metrics: Mapping[str, Scale] = Field(default_factory=dict)
    unchanged: Fraction = 0.5
    discount: Fraction = 1.0

    def of(self, kind: str, name: str) -> Weight | None:
        """What one statement weighs; None where it says nothing of how good the answer is."""
        match kind:
            case "thumb" | "rating" | "correction" | "comparison" | "outcome":
                found: Weight | None = getattr(self, kind)
            case "signal":
                found = self.signals.get(name)
            case "metric":
                found = self.metrics.get(name)
            case _:
                found = None
        return found if found is not None and found.weight > 0 else None


class ScrubPolicy(_Policy):
    """enabled: whether text is scrubbed at all. phone_regions: whose national phone numbers are known, beside all that
    begin with a country code."""

    enabled: bool = True
    kinds: frozenset[Kind] = KINDS
    phone_regions: tuple[Annotated[str, AfterValidator(_known_region)], ...] = ("US",)


class ModelPolicy(_Policy):
    """All that can be set for a model."""

    reward: RewardPolicy = RewardPolicy()
    scrub: ScrubPolicy = ScrubPolicy()


class Policies(_Policy):
    """A default, and models that differ: what such a model does not name is as in the default."""

    default: ModelPolicy = ModelPolicy()
    models: Mapping[str, ModelPolicy] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _models_inherit(cls, data: Any) -> Any:
        """Were it otherwise, a weight for one model would quietly end what `[default.scrub]` does for all."""
        if not isinstance(data, dict) or not isinstance(data.get("models"), dict):
            return data
        return data | {"models": {name: _over(data.get("default"), own) for name, own in data["models"].items()}}

    def of(self, model: str) -> ModelPolicy:
        """The policy of a model such as `default/assistant`."""
        return self.models.get(model, self.default)


def _over(default: Any, own: Any) -> Any:
    """One table over another: key by key, and so on within them."""
    if not isinstance(default, dict) or not isinstance(own, dict):
        return own
    return default | {key: _over(default.get(key), value) for key, value in own.items()}


def load(path: Path | None) -> Policies:
    """The policies in a file; the defaults without one.

    Raises:
        ConfigurationError: it cannot be read; the message names the field and what is wrong with it.
    """
    if path is None:
        return Policies()
    try:
        return Policies.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"PAWL_STREAMS_POLICY={path}: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"PAWL_STREAMS_POLICY={path}: {where}: {first['msg']}") from error
