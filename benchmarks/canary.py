"""Canaries of two equal arms, and of better and worse ones: what is promoted and rolled back, and after how much.

The code that runs is the validator's own, with a look after every session. Peer on the same sessions: a one-sided
z-test at the same level that is looked at as often, as on a dashboard with a p-value. Bounds: alpha, within three
standard errors of so many canaries; for sizes Wald's ln(1 / alpha) / KL, KL the divergence of the two rates from the
nearest pair of equal ones. Rows with a peer's name are not judged.

Run: .venv/bin/python -m benchmarks.canary [--quick]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import log, sqrt
from statistics import NormalDist, fmean

import numpy as np
from benchmarks.harness import MISSED, RESULTS, Benchmark, Target, judge, report, show
from rich.console import Console

from pawl_validator.domain.canary import CanaryPolicy, CanaryState, Observation, step

START = datetime(2026, 1, 1, tzinfo=UTC)
ALPHA_PROMOTE, ALPHA_ROLLBACK = CanaryPolicy().alpha_promote, CanaryPolicy().alpha_rollback
HALF = CanaryPolicy(share=0.5, steps=())
TENTH = CanaryPolicy(share=0.1, steps=())
RAMP = CanaryPolicy(share=0.1, steps=(0.25, 0.5), step_sessions=500)
FAR = 60_000  # sessions in which a real difference is always found
CANARIES, QUICK = 2_000, 200
EQUAL, QUICK_EQUAL = 4_000, 1_000  # rated sessions of a canary of equal arms
POWER, QUICK_POWER = 1_000, 400  # canaries of a row of sizes: standard errors of 2 and 3 % of a mean


@dataclass(frozen=True)
class Setting:
    """A kind of canary: approval of both arms, parts that are rated, and how the champion's approval moves."""

    policy: CanaryPolicy = field(default_factory=lambda: HALF)
    champion: float = 0.7
    challenger: float = 0.7
    rated: tuple[float, float] = (1.0, 1.0)
    rise: float = 0.0  # of both arms' approval, over the whole canary
    users: bool = False  # 10,000 of them who differ (beta, ICC 0.2), some of whom come often (Zipf, exponent 1.1)


A_A = {
    "half of the sessions": Setting(),
    "a tenth of the sessions": Setting(TENTH),
    "approval .2": Setting(champion=0.2, challenger=0.2),
    "users (Zipf)": Setting(users=True),
    "challenger rated 0.5 times as often": Setting(TENTH, rated=(0.8, 0.4)),
    "challenger rated 1.25 times as often": Setting(TENTH, rated=(0.6, 0.75)),
    "challenger rated twice as often": Setting(TENTH, rated=(0.4, 0.8)),
    "shares go up in steps, approval from .6 to .8": Setting(RAMP, 0.6, 0.6, rise=0.2),
    "approval from .6 to .8, challenger rated half as often": Setting(HALF, 0.6, 0.6, rated=(0.8, 0.4), rise=0.2),
    "worse by the margin of .05, promoted if not": Setting(
        CanaryPolicy(share=0.5, steps=(), margin=0.05), challenger=0.65
    ),
}
GAINS = tuple((champion, gain) for champion in (0.6, 0.8) for gain in (0.05, 0.1, 0.15))
HARMS = ((0.6, -0.1), (0.8, -0.1))


def sessions(seed: int, setting: Setting) -> Iterator[tuple[float, float, float]]:
    """Draws of the arm, the reward (less how far its user is from the mean) and the rating."""
    rng = np.random.default_rng(seed)
    opinions = rng.beta(4 * setting.champion, 4 * (1 - setting.champion), 10_000) - setting.champion
    weights = 1 / np.arange(1, 10_001) ** 1.1
    cumulated = np.cumsum(weights / weights.sum())
    while True:
        draws = rng.random((1024, 3))
        if setting.users:
            draws[:, 1] -= opinions[np.searchsorted(cumulated, rng.random(1024))]
        yield from map(tuple, draws.tolist())


@dataclass
class Peeking:
    """The z-test: whether it was ever significant from the 30th session of each arm on."""

    count: list[int] = field(default_factory=lambda: [0, 0])
    good: list[float] = field(default_factory=lambda: [0.0, 0.0])
    promoted: bool = False
    limit: float = NormalDist().inv_cdf(1 - ALPHA_PROMOTE)

    def look(self, challenger: bool, liked: float) -> None:
        self.count[challenger] += 1
        self.good[challenger] += liked
        if min(self.count) < 30 or self.promoted:
            return
        pooled = sum(self.good) / sum(self.count)
        error = sqrt(pooled * (1 - pooled) * (1 / self.count[0] + 1 / self.count[1]))
        difference = self.good[1] / self.count[1] - self.good[0] / self.count[0]
        self.promoted = error > 0 and difference > self.limit * error


def canary(job: tuple[Setting, int, int, bool]) -> tuple[str, int, bool]:
    """(what Pawl did, rated sessions until then, whether the z-test promoted) of one canary."""
    setting, seed, longest, peek = job
    policy, state, peeking = setting.policy, CanaryState(), Peeking()
    action, size, share, rated = "none", longest, policy.share, 0
    for arm, taste, rating in sessions(seed, setting):
        challenger = arm < share
        moved = setting.rise * rated / longest
        liked = float(taste < (setting.challenger if challenger else setting.champion) + moved)
        if rating >= setting.rated[challenger]:
            continue
        rated += 1
        if peek:
            peeking.look(challenger, liked)
        if action == "none":
            state, decision = step(policy, state, Observation(challenger, liked, START))
            share = decision.share
            if decision.action in ("promote", "rollback"):
                action, size = decision.action, rated
        if rated >= longest or (action != "none" and (not peek or peeking.promoted)):
            return action, size, peeking.promoted
    raise AssertionError("sessions never end")


def bound(champion: float, challenger: float, share: float, alpha: float) -> float:
    """The least mean number of sessions that a test needs which knows both rates."""
    null = (1 - share) * champion + share * challenger
    kl = sum(
        part * (p * log(p / null) + (1 - p) * log((1 - p) / (1 - null)))
        for part, p in ((1 - share, champion), (share, challenger))
    )
    return log(1 / alpha) / kl


def within(alpha: float, canaries: int) -> float:
    """Percent: alpha, and three standard errors of so many canaries."""
    return 100 * (alpha + 3 * sqrt(alpha * (1 - alpha) / canaries))


def equal_arms(pool: ProcessPoolExecutor, quick: bool) -> tuple[dict[str, list[float]], list[Target]]:
    """Percent of canaries that were promoted and rolled back although nothing differs."""
    canaries, longest = (QUICK, QUICK_EQUAL) if quick else (CANARIES, EQUAL)
    values, targets = dict[str, list[float]](), list[Target]()
    for name, setting in A_A.items():
        found = list(pool.map(canary, [(setting, seed, longest, True) for seed in range(canaries)], chunksize=10))
        shares = {
            f"% promoted: {name}": (sum(action == "promote" for action, _, _ in found), ALPHA_PROMOTE),
            f"% rolled back: {name}": (sum(action == "rollback" for action, _, _ in found), ALPHA_ROLLBACK),
        }
        for row, (number, alpha) in shares.items():
            values[row] = [100 * number / canaries] * 2
            if "margin" not in name or "promoted:" in row:
                targets.append(Target(row, at_most=round(within(alpha, canaries), 2)))
        values[f"% promoted: {name}: z-test at every session"] = [100 * fmean(z for _, _, z in found)] * 2
    return values, targets


def sizes(pool: ProcessPoolExecutor, quick: bool) -> tuple[dict[str, list[float]], list[Target]]:
    """Rated sessions until a decision, and how often it was the right one."""
    values, targets = dict[str, list[float]](), list[Target]()
    rows = [(HALF, 0.5, *row) for row in (*GAINS, *HARMS)] + [(TENTH, 0.1, 0.8, 0.1)]
    for policy, share, champion, gain in rows:
        if quick and gain == 0.05:
            continue
        right, alpha = ("promote", ALPHA_PROMOTE) if gain > 0 else ("rollback", ALPHA_ROLLBACK)
        setting = Setting(policy, champion, champion + gain)
        jobs = [(setting, seed, FAR, False) for seed in range(QUICK_POWER if quick else POWER)]
        found = list(pool.map(canary, jobs, chunksize=2))
        name = f"{champion:g} → {champion + gain:g}, {share:.0%} of the sessions"
        values[f"% right: {name}"] = [100 * fmean(action == right for action, _, _ in found)] * 2
        values[f"sessions to {right}: {name}"] = [fmean(size for action, size, _ in found if action == right)] * 2
        values[f"bound: {name}"] = [bound(champion, champion + gain, share, alpha)] * 2
        targets.append(Target(f"% right: {name}", at_least=100 - 100 * ALPHA_ROLLBACK))
        if right == "promote" and policy is HALF:
            targets.append(Target(f"sessions to {right}: {name}", peer=f"bound: {name}", at_most=1.3))
    return values, targets


def main() -> int:
    """Exit status: 0 all targets met, MISSED one was not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the canaries")
    quick = parser.parse_args().quick
    with ProcessPoolExecutor() as pool:
        parts = [equal_arms(pool, quick), sizes(pool, quick)]
    values = {name: numbers for found, _ in parts for name, numbers in found.items()}
    targets = [target for _, found in parts for target in found]
    content = report(Benchmark("canary", "see each row", {}, targets), values, judge(targets, values), quick)
    content["canaries_of_equal_arms"] = QUICK if quick else CANARIES
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "canary.json").write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    show([content], Console())
    return 0 if all(result["met"] for result in content["results"]) else MISSED


if __name__ == "__main__":
    sys.exit(main())
