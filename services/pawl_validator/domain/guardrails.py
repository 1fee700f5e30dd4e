"""What a challenger must not do worse, whatever its approval: overall, and for each kind of prompt.

Every guardrail is a sequential test of harm (blocks.py): that the challenger's rate is above the champion's by more
than `slack`. They share one level: half of it is split among the guardrails over all sessions, the other half among
those of the slices, so P(any ever trips although none is hurt) <= alpha (Bonferroni over e-processes, valid at any
time). A slice is where a prompt's sketch points to. In slices approval is guarded too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pawl_shared.prompt_slices import SLICES, slice_of
from pawl_validator.domain.blocks import Pair, Side, Sides, evidence, take

SLOW = 0.9  # sessions slower than this quantile of the champion's first ones are slow
LEARNT = 50  # of the champion's sessions, before `slow` is judged
BAD = ("empty", "cut", "repetition", "slow", "failed")
DISLIKED = "disliked"
WORDS = {
    "empty": "empty answers",
    "cut": "answers that were cut off",
    "repetition": "repeated text",
    "slow": "slow sessions",
    "failed": "answers that failed",
    DISLIKED: "dislikes",
}


class Guards(NamedTuple):
    """All guardrails of a canary: one test each, by its name. `times`: while the limit of `slow` is learnt."""

    times: tuple[float, ...] = ()
    limit: float | None = None
    pairs: tuple[tuple[str, Pair], ...] = ()


class Tripped(NamedTuple):
    """The guardrail with the most evidence of harm; `evidence` against `threshold` = 1 / its part of alpha."""

    name: str
    evidence: float
    threshold: float

    @property
    def sentence(self) -> str:
        """What it says."""
        name, _, slice_ = self.name.partition(" in ")
        where = f" in slice {slice_} of the prompts" if slice_ else ""
        return f"more {WORDS[name]}{where}: evidence {self.evidence:.3g} of {self.threshold:.3g}"


def watch(
    guards: Guards,
    slack: float,
    alpha: float,
    block: tuple[int, int],
    challenger: bool,
    reward: float | None,
    statistics: Mapping[str, float],
    sketch: str,
) -> Guards:
    """One more session, rated or not."""
    values = {name: statistics[name] for name in BAD if name in statistics}
    seconds, limit, times = statistics.get("seconds"), guards.limit, guards.times
    if seconds is not None and limit is not None:
        values["slow"] = float(seconds > limit)
    elif seconds is not None and not challenger:
        times = (*times, seconds)
        if len(times) == LEARNT:
            limit, times = sorted(times)[int(SLOW * (LEARNT - 1))], ()
    place = slice_of(sketch)
    if place is not None:
        if reward is not None:
            values[f"{DISLIKED} in {place}"] = 1 - reward
        values |= {f"{name} in {place}": value for name, value in values.items() if " in " not in name}
    pairs = dict(guards.pairs)
    for name, value in values.items():
        if 0 <= value <= 1:
            sides = Sides(Side(slack, _threshold(name, alpha)))
            pairs[name] = take(sides, pairs.get(name, Pair()), block, challenger, value)
    return Guards(times, limit, tuple(pairs.items()))


def worst(guards: Guards, alpha: float) -> Tripped | None:
    """The guardrail that is nearest to its threshold, or past it; None while nothing was seen."""
    found = [Tripped(name, evidence(pair.above), _threshold(name, alpha)) for name, pair in guards.pairs]
    return max(found, key=lambda one: one.evidence / one.threshold, default=None)


def _threshold(name: str, alpha: float) -> float:
    tests = len(SLICES) * (len(BAD) + 1) if " in " in name else len(BAD)
    return 2 * tests / alpha
