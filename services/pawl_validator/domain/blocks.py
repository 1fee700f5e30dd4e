"""One sequential test of two arms: is the challenger's rate above, or below, the champion's by more than `shift`?

Observations are taken in fixed blocks in arrival order, (k of the champion, m of the challenger); the later ones of the
arm that is ahead wait. So the proportions of the arms in a block are fixed whatever share of each arm's answers gets
rated; one by one, a challenger rated twice as often gave 81 % false rollbacks (blocks: <= 4.2 %). At most LAG blocks
wait, and older observations are left out: otherwise an arm that is rated half as often would be compared with an ever
older past of the other one, and rates that drift would look like a difference.

E-value of a block, rates (a, b) of champion and challenger, w = m / (k + m) the challenger's part of the block:

    S = prod_i p_alternative(y_i | arm_i) / p_null(y_i | arm_i)

(a*, b*) is fixed before the block from the blocks before it; (a0, b0) is its reverse information projection on
{b = a + shift}, hence E S <= 1 on the whole far side of that line, whatever came before [TLG; TG]. One process for each
gap b* - a* - shift, averaged with fixed weights; by Ville P(average ever >= 1 / alpha) <= alpha. S is affine in each y,
so a session's mean in [0, 1] is as good as a thumb.

[TLG] Turner, Ly, Gruenwald, "Generic E-variables for exact sequential k-sample tests", JSPI 2024 (arXiv 2106.02693).
[TG]  Turner, Gruenwald, "Exact anytime-valid confidence intervals for contingency tables", 2023 (arXiv 2203.09785).
"""

from __future__ import annotations

from functools import lru_cache
from math import exp, log, prod
from typing import Literal, NamedTuple

# Gaps that are bet on, in approval, with their weights: most for those that are usual, of 5 to 15 points. The last two
# cost ln(1/0.91) = 0.1 of the 4.6 that are needed and shorten .21 -> .75 by a quarter.
GAPS = (0.03, 0.055, 0.1, 0.15, 0.22, 0.34, 0.54)
WEIGHTS = (0.07, 0.25, 0.26, 0.24, 0.09, 0.05, 0.04)
ZERO = (0.0,) * len(GAPS)

MAX_BLOCK = 99  # a share below 1 % is tested in blocks of 99 : 1
LAG = 20  # blocks that may wait
EDGE = 0.01  # rates nearer to 0 or 1 are not bet on

Sign = Literal[1, -1]
Ratios = tuple[tuple[float, float, float, float], ...]
Rewards = tuple[float, ...]


class Pair(NamedTuple):
    """What a test knows. `above`, `below`: log e-processes, one for each gap, for a challenger that is better, worse.

    `spent` is the sum of the observations inside finished blocks, `n` their number: only these inform the next bets.
    """

    champion: Rewards = ()
    challenger: Rewards = ()
    blocks: int = 0
    n: int = 0
    spent: float = 0.0
    above: tuple[float, ...] = ZERO
    below: tuple[float, ...] = ZERO


class Bets(NamedTuple):
    """How a test bets; None: not in this direction. The prior is a guess of the common rate: it moves speed alone."""

    above: float | None = 0.0
    below: float | None = 0.0
    prior_rate: float = 0.5
    prior_weight: float = 4.0


def block_of(share: float) -> tuple[int, int]:
    """(champion's, challenger's) observations in one block: k : 1, or 1 : m for a share above one half."""
    odds = (1 - share) / share
    return (min(round(odds), MAX_BLOCK), 1) if odds >= 1 else (1, min(round(1 / odds), MAX_BLOCK))


def take(bets: Bets, pair: Pair, block: tuple[int, int], challenger: bool, reward: float) -> Pair:
    """One more observation; evidence moves only when a block is full, so all bets inside it are fixed before it."""
    k, m = block
    first, second = pair.champion, pair.challenger
    if challenger:
        second = (*second, reward)[-LAG * m :]
    else:
        first = (*first, reward)[-LAG * k :]
    if len(first) < k or len(second) < m:
        return pair._replace(champion=first, challenger=second)
    ours, theirs = first[:k], second[:m]
    # Rounded, so that bets are found again and not made anew; they are fixed before the block all the same.
    pooled = round((bets.prior_rate * bets.prior_weight + pair.spent) / (bets.prior_weight + pair.n), 2)
    part = m / (k + m)
    above, below = pair.above, pair.below
    if bets.above is not None:
        above = _grown(above, ratios(pooled, part, bets.above, 1), ours, theirs)
    if bets.below is not None:
        below = _grown(below, ratios(pooled, part, bets.below, -1), ours, theirs)
    spent = pair.spent + sum(ours) + sum(theirs)
    return Pair(first[k:], second[m:], pair.blocks + 1, pair.n + k + m, spent, above, below)


def evidence(log_values: tuple[float, ...]) -> float:
    """Weighted mean of the e-processes; capped at e^700 so that it stays a finite JSON number."""
    return sum(w * exp(min(v, 700.0)) for w, v in zip(WEIGHTS, log_values, strict=True))


@lru_cache(maxsize=1 << 15)
def ratios(pooled: float, part: float, shift: float, sign: Sign) -> Ratios:
    """For each gap alternative over null of (champion good, champion bad, challenger good, challenger bad)."""
    found = []
    for gap in GAPS:
        difference = shift + sign * gap
        a = min(max(pooled - part * difference, 2 * EDGE), 1 - 2 * EDGE)
        b = min(max(a + difference, EDGE), 1 - EDGE)
        if sign * (b - a - shift) <= 0:  # the edge put the alternative into the null: no bet
            found.append((1.0, 1.0, 1.0, 1.0))
            continue
        null = project(a, b, part, shift)
        found.append((a / null, (1 - a) / (1 - null), b / (null + shift), (1 - b) / (1 - null - shift)))
    return tuple(found)


def project(a: float, b: float, part: float, shift: float) -> float:
    """The champion's rate a0 of the point (a0, a0 + shift) nearest to (a, b): least
    (1 - part) KL(a || a0) + part KL(b || a0 + shift), the root of a monotone derivative."""
    if shift == 0:
        return (1 - part) * a + part * b
    low, high = max(0.0, -shift), min(1.0, 1.0 - shift)
    for _ in range(60):
        middle = 0.5 * (low + high)
        other = middle + shift
        ours = (1 - part) * (middle - a) / (middle * (1 - middle))
        theirs = part * (other - b) / (other * (1 - other)) if 0 < other < 1 else (1.0 if other >= 1 else -1.0) * 1e9
        low, high = (low, middle) if ours + theirs > 0 else (middle, high)
    return low


def _grown(values: tuple[float, ...], bets: Ratios, ours: Rewards, theirs: Rewards) -> tuple[float, ...]:
    return tuple(
        [
            value
            + log(prod([y * good + (1 - y) * bad for y in ours]) * prod([y * up + (1 - y) * down for y in theirs]))
            for value, (good, bad, up, down) in zip(values, bets, strict=True)
        ]
    )
