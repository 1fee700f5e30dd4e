"""What is known of an experiment's arms: approval, differences to the control, who rates, and whether sessions come in
the shares that were drawn.

    state = comparison.take(arms, state, Seen(arm=1, reward=0.75, statistics={...}))
    report = comparison.report(arms, state, alpha)

All intervals hold at any time (confidence.py) and for all arms together (Bonferroni). Differences are taken over blocks
of rated sessions, k of the control and m of the arm in the order of their arrival, as in blocks.py and for its reasons:
an arm that is rated more often gets no other weight, and rates that move for all arms make no difference between them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite, lgamma, log
from typing import NamedTuple

from pawl_validator.domain.blocks import LAG
from pawl_validator.domain.confidence import Mean

# Of the smaller arm's sessions; more would wait than are worth their memory.
MOST = 20
# Sessions that the shares are worth as a prior of how they may be off [LM], and the level at which that is told.
PRIOR = 100.0
MISMATCH = 0.001
NAMES = 40  # numbers of a session that are summed, the first that come


class Seen(NamedTuple):
    """One session of the experiment. `reward` in [0, 1], or None when nobody rated it."""

    arm: int
    reward: float | None
    statistics: Mapping[str, float] = {}


class Sum(NamedTuple):
    """A plain mean."""

    n: int = 0
    total: float = 0.0


class ArmState(NamedTuple):
    """One arm."""

    rated: Mean = Mean()
    approval: Mean = Mean()
    statistics: Mapping[str, Sum] = {}


class Difference(NamedTuple):
    """An arm against the control: what waits for its block, and the blocks' differences, from [-1, 1] onto [0, 1]."""

    control: tuple[float, ...] = ()
    arm: tuple[float, ...] = ()
    mean: Mean = Mean()


class Comparison(NamedTuple):
    """All that is known. `differences` begin with that of the second arm."""

    arms: tuple[ArmState, ...] = ()
    differences: tuple[Difference, ...] = ()

    @property
    def sessions(self) -> int:
        return sum(arm.rated.n for arm in self.arms)


class Bounds(NamedTuple):
    """An estimate and its interval."""

    point: float
    low: float
    high: float
    n: int


class Report(NamedTuple):
    """What is shown of each arm, in their order; `differences` begin with that of the second arm."""

    rated: tuple[Bounds, ...]
    approval: tuple[Bounds, ...]
    means: tuple[dict[str, float], ...]
    differences: tuple[Bounds, ...]
    warnings: tuple[str, ...]


def begin(arms: int) -> Comparison:
    """Nothing is known yet."""
    return Comparison((ArmState(),) * arms, (Difference(),) * (arms - 1))


def take(shares: Sequence[float], state: Comparison, seen: Seen) -> Comparison:
    """One more session. Raises ValueError for a reward that is none."""
    reward = seen.reward
    if reward is not None and not 0 <= reward <= 1:
        raise ValueError(f"a session's reward must lie in [0, 1], not {reward}")
    arms = list(state.arms)
    arms[seen.arm] = _add(arms[seen.arm], reward, seen.statistics)
    differences = state.differences
    if reward is not None:
        differences = tuple(
            _paired(difference, block(shares[0], share), seen.arm != 0, reward)
            if seen.arm in (0, other)
            else difference
            for other, (share, difference) in enumerate(zip(shares[1:], differences, strict=True), 1)
        )
    return Comparison(tuple(arms), differences)


def block(control: float, arm: float) -> tuple[int, int]:
    """(control's, arm's) sessions in one block: about as their shares, one of the smaller."""
    if control >= arm:
        return min(round(control / arm), MOST), 1
    return 1, min(round(arm / control), MOST)


def report(names: Sequence[str], shares: Sequence[float], state: Comparison, alpha: float) -> Report:
    """Each kind of interval (approval, rated share, difference) misses anything ever with a probability of at most
    `alpha`, over all arms."""
    level = alpha / len(names)
    rated = tuple(_bounds(arm.rated, level) for arm in state.arms)
    approval = tuple(_bounds(arm.approval, level) for arm in state.arms)
    differences = tuple(_unscaled(each.mean, alpha / (len(names) - 1)) for each in state.differences)
    means = tuple({name: s.total / s.n for name, s in sorted(arm.statistics.items())} for arm in state.arms)
    warnings = (*_mismatched(names, shares, state), *_rated_apart(names, rated))
    return Report(rated, approval, means, differences, warnings)


def mismatch(shares: Sequence[float], counts: Sequence[int]) -> float:
    """Log of an e-value against "sessions come in these shares", valid at any time: the marginal likelihood under a
    Dirichlet prior around them over the likelihood.

    [LM] Lindon, Malek, "Anytime-valid inference for multinomial count data", NeurIPS 2022 (arXiv 2011.03567).
    """
    whole = sum(shares)
    value = lgamma(PRIOR) - lgamma(PRIOR + sum(counts))
    for share, count in zip(shares, counts, strict=True):
        part = share / whole
        value += lgamma(PRIOR * part + count) - lgamma(PRIOR * part) - count * log(part)
    return value


def _add(arm: ArmState, reward: float | None, statistics: Mapping[str, float]) -> ArmState:
    approval = arm.approval if reward is None else arm.approval.add(reward)
    sums = dict(arm.statistics)
    for name, value in statistics.items():
        n, total = sums.get(name, Sum())
        # An app's metrics have any name and any value: what cannot be told would end every report that follows.
        if (n or len(sums) < NAMES) and isfinite(total + value):
            sums[name] = Sum(n + 1, total + value)
    return ArmState(arm.rated.add(float(reward is not None)), approval, sums)


def _paired(known: Difference, sizes: tuple[int, int], arm: bool, reward: float) -> Difference:
    """A block counts when it is full; the oldest are left out when more than LAG blocks wait (see blocks.py)."""
    k, m = sizes
    ours, theirs = known.control, known.arm
    if arm:
        theirs = (*theirs, reward)[-LAG * m :]
    else:
        ours = (*ours, reward)[-LAG * k :]
    if len(ours) < k or len(theirs) < m:
        return Difference(ours, theirs, known.mean)
    gap = sum(theirs[:m]) / m - sum(ours[:k]) / k
    return Difference(ours[k:], theirs[m:], known.mean.add((1 + gap) / 2))


def _bounds(mean: Mean, alpha: float) -> Bounds:
    low, high = mean.interval(alpha)
    return Bounds(mean.point if mean.n else 0.0, low, high, mean.n)


def _unscaled(mean: Mean, alpha: float) -> Bounds:
    low, high = mean.interval(alpha)
    return Bounds(2 * mean.point - 1, 2 * low - 1, 2 * high - 1, mean.n)


def _mismatched(names: Sequence[str], shares: Sequence[float], state: Comparison) -> tuple[str, ...]:
    counts = [arm.rated.n for arm in state.arms]
    total = sum(counts)
    if not total or mismatch(shares, counts) < -log(MISMATCH):
        return ()
    whole = sum(shares)
    came = ", ".join(
        f"{name} {count / total:.1%} instead of {share / whole:.1%}"
        for name, count, share in zip(names, counts, shares, strict=True)
    )
    return (
        f"sessions do not come in the shares that were drawn ({came}): some are lost on their way, so the arms cannot "
        "be compared; look for a replica that refuses the experiment, and for arms whose answers fail",
    )


def _rated_apart(names: Sequence[str], rated: Sequence[Bounds]) -> tuple[str, ...]:
    control = rated[0]
    apart = [
        f"{name} {other.point:.1%}"
        for name, other in zip(names[1:], rated[1:], strict=True)
        if other.low > control.high or other.high < control.low
    ]
    if not apart:
        return ()
    return (
        f"people rate the arms at different rates ({names[0]} {control.point:.1%}, {', '.join(apart)}): differences "
        "are between what raters said, and who rates may be a part of them",
    )
