"""Drift of what people ask: a sequential two-sample test, the reference against now, on sketches of the prompts.

The first `reference` sessions give a centre and a scale, the next `calibration` are kept. After each block of sessions
three witnesses, functions of a sketch, are fixed for the next block: its distance from the centre along the way that
the last block went, the same for the last few blocks, and its squared distance in all (which sees a new cluster on
either side, to which every linear witness is blind). Each session of the block gets the smoothed conformal p-value of
its score within calibration and block so far. A witness depends on neither of these, so its p-values are i.i.d. uniform
as long as nothing changes [VP], and the e-detector that bets on small ones, from 0 at each block, has the bound of
detectors.py [SRR]. Blocks share the calibration and so are dependent; expectations of alarms add up all the same. The
witnesses have alpha / 3 each. Sketches are whole numbers, and so are witnesses and scores: nothing depends on rounding.
"""

from __future__ import annotations

from base64 import b64decode
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from operator import mul, sub
from typing import NamedTuple

from pawl_monitor.domain.detectors import SHARES, Budget, Change, Decision, Observation, keep_example
from pawl_monitor.domain.intervals import estimate
from pawl_shared.ids import uniform

KAPPAS = (0.3, 0.5, 0.7, 0.9)  # bets kappa p^(kappa - 1), of mean 1 for uniform p
NAMES = ("latest", "recent", "spread")
UNLIKE = 0.1  # sessions with such a p-value are called unlike the reference
MEMORY = 4  # blocks whose mean is the second witness

Vector = tuple[int, ...]
Scores = tuple[int, ...]


class Block(NamedTuple):
    """A finished block: when it began, and the mean of its sketches."""

    began: datetime
    mean: tuple[float, ...]


class Witness(NamedTuple):
    """One witness in the present block: sorted scores so far, its bets, and the sessions unlike the reference."""

    scores: Scores = ()
    m: tuple[float, ...] = (0.0,) * len(KAPPAS)
    unlike: int = 0
    examples: tuple[str, ...] = ()


class TrafficState(NamedTuple):
    """Everything the detector knows; `calibration` is the sketches themselves, 32 characters each."""

    n: int = 0
    total: Vector = ()
    square: Vector = ()
    centre: Vector = ()
    scale: tuple[float, ...] = ()
    calibration: str = ""
    began: datetime | None = None
    blocks: tuple[Block, ...] = ()
    ways: tuple[Vector, ...] = ()
    witnesses: tuple[Witness, ...] = ()


@dataclass(frozen=True, slots=True)
class TrafficPolicy:
    """alpha: false alarms a session. reference, calibration, block: sessions, see the module."""

    alpha: float = SHARES["traffic"] * Budget().alpha
    reference: int = 500
    calibration: int = 500
    block: int = 256

    @property
    def guarantee(self) -> str:
        """What is proven."""
        return f"E[false alarms within n sessions] ≤ {self.alpha:.2g} n, sessions exchangeable"

    @property
    def threshold(self) -> float:
        """Evidence (mean of the bets) at which one witness raises the alarm."""
        return len(NAMES) / self.alpha

    def begin(self, reference: int) -> TrafficState:
        """A new reference."""
        return TrafficState()

    def step(self, state: TrafficState, seen: Observation) -> tuple[TrafficState, Decision | None]:
        """Take in one session; one without a sketch says nothing."""
        if not seen.prompt:
            return state, None
        x = vector(seen.prompt)
        if state.n < self.reference + self.calibration:
            return self._learn(state, x, seen), Decision("learning", {})
        total = tuple(map(int.__add__, state.total, x)) if state.total else x
        new = state._replace(n=state.n + 1, total=total, began=state.began or seen.time)
        evidence, change = dict[str, float](), None
        if state.ways:
            new = new._replace(witnesses=self._bet(state, x, seen))
            sums = [sum(witness.m) / len(KAPPAS) for witness in new.witnesses]
            evidence = {name: value / self.threshold for name, value in zip(NAMES, sums, strict=True)}
            if max(sums) >= self.threshold:
                change = self._explain(new, sums.index(max(sums)), max(sums), seen.time)
        if (new.n - self.reference - self.calibration) % self.block == 0:
            new = self._next_block(new)
        if change is not None:
            return new, Decision("drift", evidence, change)
        return new, Decision("stable", evidence)

    def _learn(self, state: TrafficState, x: Vector, seen: Observation) -> TrafficState:
        n = state.n + 1
        if n > self.reference:
            return state._replace(n=n, calibration=state.calibration + seen.prompt)
        squares = tuple(map(mul, x, x))
        total = tuple(map(int.__add__, state.total, x)) if state.total else x
        square = tuple(map(int.__add__, state.square, squares)) if state.square else squares
        if n < self.reference:
            return TrafficState(n, total, square)
        centre = tuple([round(t / n) for t in total])
        scale = tuple([max(s / n - (t / n) ** 2, 1.0) for s, t in zip(square, total, strict=True)])
        return TrafficState(n, centre=centre, scale=scale)

    def _bet(self, state: TrafficState, x: Vector, seen: Observation) -> tuple[Witness, ...]:
        u, witnesses = uniform("traffic", seen.session), []
        bags = references(state.calibration, state.centre, state.scale, state.ways)
        for score, bag, known in zip(
            _scores(state.centre, state.scale, state.ways, x), bags, state.witnesses, strict=True
        ):
            place = bisect_left(known.scores, score)
            scores = (*known.scores[:place], score, *known.scores[place:])
            above = len(bag) - bisect_right(bag, score) + len(scores) - bisect_right(scores, score)
            least = len(bag) - bisect_left(bag, score) + len(scores) - place
            p = max((above + u * (least - above)) / (len(bag) + len(scores)), 1e-12)
            m = tuple([k * p ** (k - 1) * (value + 1) for k, value in zip(KAPPAS, known.m, strict=True)])
            unlike = p <= UNLIKE
            examples = keep_example(known.examples, seen.example) if unlike else known.examples
            witnesses.append(Witness(scores, m, known.unlike + unlike, examples))
        return tuple(witnesses)

    def _next_block(self, state: TrafficState) -> TrafficState:
        assert state.began is not None
        block = Block(state.began, tuple([t / self.block for t in state.total]))
        blocks = (*state.blocks, block)[-MEMORY:]
        recent = tuple([sum(values) / len(blocks) for values in zip(*(b.mean for b in blocks), strict=True)])
        ways = tuple([_way(mean, state.centre, state.scale) for mean in (block.mean, recent)])
        witnesses = (Witness(),) * len(NAMES)
        return state._replace(total=(), began=None, blocks=blocks, ways=ways, witnesses=witnesses)

    def _explain(self, state: TrafficState, i: int, evidence: float, now: datetime) -> Change:
        witness = state.witnesses[i]
        before = estimate(UNLIKE * self.calibration, self.calibration)
        after = estimate(witness.unlike, len(witness.scores))
        assert before is not None
        assert after is not None
        return Change(
            "prompts unlike 90 % of the reference", "drift", self._since(state, i) or now, before, after, evidence,
            self.threshold, f"traffic/{NAMES[i]}", witness.examples,
        )  # fmt: skip

    @staticmethod
    def _since(state: TrafficState, i: int) -> datetime | None:
        """The start of the first block, going back, whose mean went at least half as far as the last one's."""
        if i == len(NAMES) - 1:
            return state.began
        moved = [sum(map(mul, state.ways[i], map(sub, block.mean, state.centre))) for block in state.blocks]
        since = state.began
        for block, far in zip(reversed(state.blocks), reversed(moved), strict=True):
            if far < 0.5 * moved[-1]:
                break
            since = block.began
        return since


@lru_cache(maxsize=1 << 16)
def vector(sketch: str) -> Vector:
    """The numbers of a sketch: base64 of bytes from -127 to 127."""
    return tuple(memoryview(b64decode(sketch, validate=True)).cast("b"))


@lru_cache(maxsize=64)
def references(
    calibration: str, centre: Vector, scale: tuple[float, ...], ways: tuple[Vector, ...]
) -> tuple[Scores, ...]:
    """Sorted scores of the calibration, by witness. Derived, so they are not stored."""
    numbers, size = vector_of_all(calibration), len(centre)
    rows = [numbers[i : i + size] for i in range(0, len(numbers), size)]
    columns = zip(*(_scores(centre, scale, ways, row) for row in rows), strict=True)
    return tuple([tuple(sorted(column)) for column in columns])


def vector_of_all(calibration: str) -> Vector:
    """The numbers of sketches that stand one after another: 32 characters each, so there is no padding in between."""
    return tuple(memoryview(b64decode(calibration, validate=True)).cast("b"))


def _scores(centre: Vector, scale: tuple[float, ...], ways: tuple[Vector, ...], x: Vector) -> Scores:
    away = list(map(sub, x, centre))
    # round() once, at the end: the sum of floats is the same on every machine that follows IEEE 754
    spread = round(64 * sum([d * d / s for d, s in zip(away, scale, strict=True)]))
    return (*[sum(map(mul, way, x)) for way in ways], spread)


def _way(mean: tuple[float, ...], centre: Vector, scale: tuple[float, ...]) -> Vector:
    """Where a mean went, in units of the variance, as whole numbers up to 127."""
    moved = [(m - c) / s for m, c, s in zip(mean, centre, scale, strict=True)]
    largest = max(map(abs, moved)) or 1.0
    return tuple([round(127 * value / largest) for value in moved])
