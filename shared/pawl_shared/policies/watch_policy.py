"""Further detectors of a model: the entries of `detectors.more` in its model.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pawl_shared.policies.values import Section
from pawl_shared.prompt_slices import SLICES

# Settings of river's detectors that a policy may change; the others are river's defaults.
RIVER: Mapping[str, tuple[str, ...]] = {
    "adwin": ("delta",),
    "page-hinkley": ("delta", "threshold", "min_instances"),
    "kswin": ("alpha",),
}
SHARES = ("approval", "empty", "cut", "repetition")  # numbers of a session that are shares
Name = Annotated[str, Field(max_length=64, pattern=r"^[a-z][a-z0-9-]*$")]


class Watch(Section):
    """One more detector: of a number that sessions have, among all of them or in a slice. Its alarms are news for
    people: it never asks for a run."""

    of: str = Field(
        default="approval",
        min_length=1,
        max_length=110,
        description="approval, words, tokens, seconds, first_token_seconds, empty, cut or repetition of a session, or "
        "metric/NAME: the mean of a metric that the app reports",
    )
    where: Mapping[str, str] = Field(
        default_factory=dict,
        max_length=8,
        description="which sessions: language (ISO 639), prompts (A, B, C or D, as guardrails slice them), or a tag of "
        "the request's metadata, by name",
    )
    by: Literal["pawl", "adwin", "page-hinkley", "kswin"] = Field(
        default="pawl",
        description="pawl: with a guarantee, out of the common alpha; the others are river's, with none, and need the "
        "extra `river`",
    )
    change: Literal["both", "drop", "rise"] = Field(default="both", description="the change that is wanted")
    share: bool | None = Field(
        default=None,
        description="whether the number is a share, from 0 to 1; null: approval, empty, cut and repetition are. Of "
        "other numbers it is watched how many sessions lie above the median",
    )
    reference_sessions: int = Field(default=250, ge=20, le=5000, description="sessions that pawl's learns from")
    settings: Mapping[str, Annotated[float, Field(gt=0, le=1e6)]] = Field(
        default_factory=dict,
        description="of river's detector: delta of adwin; delta, threshold, min_instances of page-hinkley; alpha of "
        "kswin",
    )

    @model_validator(mode="after")
    def _settings_are_known(self) -> Watch:
        known = RIVER.get(self.by, ())
        for name, value in self.settings.items():
            if name not in known:
                raise ValueError(f"{self.by} has no setting {name}: there are {', '.join(known) or 'none'}")
            if value >= 1 and name not in ("threshold", "min_instances"):
                raise ValueError(f"{name} of {self.by} must be below 1")
        return self

    @model_validator(mode="after")
    def _slice_is_one(self) -> Watch:
        if self.where.get("prompts", "A") not in SLICES:
            raise ValueError(f"prompts must be one of {', '.join(SLICES)}")
        return self

    @property
    def is_share(self) -> bool:
        """Whether the number is one."""
        return self.of in SHARES if self.share is None else self.share

    def __hash__(self) -> int:
        return hash(self.model_dump_json())
