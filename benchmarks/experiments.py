"""Experiments looked at after every session: how often an interval of their report ever misses, and how wide it is.

The code that runs is the validator's own. Peer on the same sessions: the fixed-sample interval of the same level
(Wald, with the same Bonferroni), looked at as often, as on a dashboard. Bound: alpha, within three standard errors of
so many experiments. Howard et al. (Annals of Statistics 2021, theorem 4) prove that at most alpha of the sequences ever
miss; of fixed-sample tests at 5 %, 53 % reject a true null within 1,000 looks (Armitage, McPherson, Rowe, JRSS A 1969).
Rows with a peer's name are not judged.

Run: .venv/bin/python -m benchmarks.experiments [--quick]
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from math import sqrt
from random import Random
from statistics import NormalDist, fmean

from benchmarks.harness import MISSED, RESULTS, Benchmark, Target, judge, report, show
from rich.console import Console

from pawl_validator.domain.comparison import Comparison, Seen, begin, take
from pawl_validator.domain.confidence import Mean, boundary

ALPHA = 0.05
EXPERIMENTS, QUICK = 1_000, 150
LONGEST, QUICK_LONGEST = 10_000, 1_500  # sessions
FEWEST = 30  # observations before which nobody would look at the peer
WIDE = 1_000  # comparisons at which widths are compared


@dataclass(frozen=True)
class Setting:
    """A kind of experiment, one number an arm. `rise`: of approval in all arms, over the whole experiment."""

    shares: tuple[float, ...] = (0.5, 0.5)
    approval: tuple[float, ...] = (0.7, 0.7)
    rated: tuple[float, ...] = (1.0, 1.0)
    rise: float = 0.0


SETTINGS = {
    "two equal arms": Setting(),
    "approval .95": Setting(approval=(0.95, 0.95)),
    "a better arm with a tenth of the sessions": Setting(shares=(0.9, 0.1), approval=(0.6, 0.75)),
    "four arms": Setting((0.4, 0.2, 0.2, 0.2), (0.6, 0.6, 0.7, 0.5), (0.8, 0.8, 0.8, 0.8)),
    "second arm rated twice as often": Setting(rated=(0.4, 0.8)),
    "approval from .5 to .8, second arm rated half as often": Setting(approval=(0.5, 0.5), rated=(0.8, 0.4), rise=0.3),
}


@dataclass
class Watch:
    """Whether the sequence of one mean, and the peer's intervals, ever missed. `wanted` sums the true means."""

    alpha: float
    wanted: float = 0.0
    reach: float = 0.0
    missed: bool = False
    peer_missed: bool = False
    z: float = field(init=False)

    def __post_init__(self) -> None:
        self.z = NormalDist().inv_cdf(1 - self.alpha / 2)

    def look(self, mean: Mean, truth: float) -> None:
        self.wanted += truth
        off = abs(mean.total - self.wanted)
        if off > self.reach:  # it only grows: the last one tells enough of the time
            self.reach = boundary(mean.spread, self.alpha / 2)
            self.missed = self.missed or off > self.reach
        if not self.peer_missed and mean.n >= FEWEST:
            self.peer_missed = off > self.z * sqrt(mean.spread)


def experiment(job: tuple[Setting, int, int]) -> tuple[bool, bool, bool, bool]:
    """Whether an approval, a difference ever missed; and the same of the peer."""
    setting, seed, longest = job
    rng, arms = Random(seed), len(setting.shares)
    state: Comparison = begin(arms)
    approval = [Watch(ALPHA / arms) for _ in range(arms)]
    gaps = [Watch(ALPHA / (arms - 1)) for _ in range(arms - 1)]
    for number in range(longest):
        (arm,) = rng.choices(range(arms), setting.shares)
        rate = setting.approval[arm] + setting.rise * number / longest
        if rng.random() >= setting.rated[arm]:
            continue
        before = state
        state = take(setting.shares, state, Seen(arm, float(rng.random() < rate)))
        approval[arm].look(state.arms[arm].approval, rate)
        for other, (old, new) in enumerate(zip(before.differences, state.differences, strict=True), 1):
            if new.mean.n > old.mean.n:
                gaps[other - 1].look(new.mean, (1 + setting.approval[other] - setting.approval[0]) / 2)
    return (
        any(each.missed for each in approval),
        any(each.missed for each in gaps),
        any(each.peer_missed for each in approval),
        any(each.peer_missed for each in gaps),
    )


def misses(pool: ProcessPoolExecutor, quick: bool) -> tuple[dict[str, list[float]], list[Target]]:
    """Percent of experiments in which an interval ever missed."""
    experiments, longest = (QUICK, QUICK_LONGEST) if quick else (EXPERIMENTS, LONGEST)
    within = 100 * (ALPHA + 3 * sqrt(ALPHA * (1 - ALPHA) / experiments))
    values, targets = dict[str, list[float]](), list[Target]()
    for name, setting in SETTINGS.items():
        jobs = [(setting, seed, longest) for seed in range(experiments)]
        found = list(pool.map(experiment, jobs, chunksize=5))
        for index, kind in enumerate(("approval", "difference")):
            row = f"% ever missed, {kind}: {name}"
            values[row] = [100 * fmean(each[index] for each in found)] * 2
            values[f"{row}: fixed-sample interval"] = [100 * fmean(each[index + 2] for each in found)] * 2
            targets.append(Target(row, at_most=round(within, 2)))
    return values, targets


def widths() -> tuple[dict[str, list[float]], list[Target]]:
    """Half the width of the interval of a difference, in points of approval."""
    values, targets = dict[str, list[float]](), list[Target]()
    for rate in (0.5, 0.8):
        # Of y = (1 + a - b) / 2 in [0, 1], whose variance is a quarter of that of a - b.
        spread = WIDE * rate * (1 - rate) / 2
        name = f"points of half width, {WIDE:,} comparisons: approval {rate:g}"
        values[name] = [200 * boundary(spread, ALPHA / 2) / WIDE] * 2
        values[f"{name}: fixed-sample interval"] = [200 * 1.96 * sqrt(spread) / WIDE] * 2
        targets.append(Target(name, peer=f"{name}: fixed-sample interval", at_most=2.0))
    return values, targets


def main() -> int:
    """Exit status: 0 all targets met, MISSED one was not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter experiments")
    quick = parser.parse_args().quick
    with ProcessPoolExecutor() as pool:
        parts = [misses(pool, quick), widths()]
    values = {name: numbers for found, _ in parts for name, numbers in found.items()}
    targets = [target for _, found in parts for target in found]
    content = report(Benchmark("experiments", "see each row", {}, targets), values, judge(targets, values), quick)
    content["experiments"] = QUICK if quick else EXPERIMENTS
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "experiments.json").write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    show([content], Console())
    return 0 if all(result["met"] for result in content["results"]) else MISSED


if __name__ == "__main__":
    sys.exit(main())
