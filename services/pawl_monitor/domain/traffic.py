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

from array import array
from base64 import b64decode, b64encode
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from operator import add, mul, sub
from typing import Literal, NamedTuple

from pawl_monitor.domain.detectors import SHARES, Budget, Change, Decision, Observation, keep_example
from pawl_monitor.domain.intervals import estimate
from pawl_shared.ids import uniform

# Bets kappa p^(kappa - 1), of mean 1 for uniform p, with kappa = 0.3, 0.5, 0.7, 0.9.
KAPPAS = (0.3, 0.5, 0.7, 0.9)
NAMES = ("latest", "recent", "spread")
UNLIKE = 0.1  # sessions with such a p-value are called unlike the reference
SKETCH = 32  # characters of a sketch
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
    m: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    unlike: int = 0
    examples: tuple[str, ...] = ()


class TrafficState(NamedTuple):
    """Everything the detector knows. Strings are whole numbers in base64: `calibration` is the sketches themselves, 32
    characters each; `centre` and `ways` are bytes, `scale` (variances) two bytes each."""

    n: int = 0
    total: Vector = ()
    square: Vector = ()
    centre: str = ""
    scale: str = ""
    calibration: str = ""
    began: datetime | None = None
    blocks: tuple[Block, ...] = ()
    ways: tuple[str, str] = ("", "")
    witnesses: tuple[Witness, ...] = ()


class Reference(NamedTuple):
    """What scores are made with, and the sorted scores of the calibration by witness; derived, so it is not stored."""

    centre: Vector
    weights: tuple[float, ...]
    ways: tuple[Vector, Vector]
    bags: tuple[Scores, ...]


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
        x = numbers(seen.prompt)
        if state.n < self.reference + self.calibration:
            return self._learn(state, x, seen.prompt), Decision("learning", {})
        total = tuple(map(add, state.total, x)) if state.total else x
        witnesses, evidence, change = state.witnesses, dict[str, float](), None
        if witnesses:
            witnesses = self._bet(state, x, seen)
            sums = [sum(witness.m) / len(KAPPAS) for witness in witnesses]
            evidence = {name: value / self.threshold for name, value in zip(NAMES, sums, strict=True)}
        new = TrafficState(
            state.n + 1, total, (), state.centre, state.scale, state.calibration, state.began or seen.time,
            state.blocks, state.ways, witnesses,
        )  # fmt: skip
        if evidence and max(evidence.values()) >= 1:
            change = self._explain(new, sums.index(max(sums)), max(sums), seen.time)
        if (new.n - self.reference - self.calibration) % self.block == 0:
            new = self._next_block(new)
        return new, Decision("drift" if change else "stable", evidence, change)

    def _learn(self, state: TrafficState, x: Vector, prompt: str) -> TrafficState:
        n = state.n + 1
        if n > self.reference:
            return state._replace(n=n, calibration=state.calibration + prompt)
        squares = tuple(map(mul, x, x))
        total = tuple(map(add, state.total, x)) if state.total else x
        square = tuple(map(add, state.square, squares)) if state.square else squares
        if n < self.reference:
            return TrafficState(n, total, square)
        scale = [max(round(s / n - (t / n) ** 2), 1) for s, t in zip(square, total, strict=True)]
        return TrafficState(n, centre=_packed("b", [round(t / n) for t in total]), scale=_packed("H", scale))

    def _bet(self, state: TrafficState, x: Vector, seen: Observation) -> tuple[Witness, ...]:
        u, unlike = uniform("traffic", seen.session), UNLIKE
        known = reference_of(state.calibration, state.centre, state.scale, *state.ways)
        witnesses = []
        scored = (*[sum(map(mul, way, x)) for way in known.ways], _spread(known.centre, known.weights, x))
        for score, bag, (past, m, count, examples) in zip(scored, known.bags, state.witnesses, strict=True):
            place, size = bisect_left(past, score), len(bag) + len(past) + 1
            above = size - 1 - bisect_right(bag, score) - bisect_right(past, score)
            least = size - bisect_left(bag, score) - place  # those at least as high, this one included
            p = max((above + u * (least - above)) / size, 1e-12)
            if p <= unlike:
                count, examples = count + 1, keep_example(examples, seen.example)
            scores = (*past[:place], score, *past[place:])
            witnesses.append(Witness(scores, _bets(p, m), count, examples))
        return tuple(witnesses)

    def _next_block(self, state: TrafficState) -> TrafficState:
        assert state.began is not None
        block = Block(state.began, tuple([t / self.block for t in state.total]))
        blocks = (*state.blocks, block)[-MEMORY:]
        recent = tuple([sum(values) / len(blocks) for values in zip(*(b.mean for b in blocks), strict=True)])
        latest, lately = (_way(mean, numbers(state.centre), numbers(state.scale, "H")) for mean in (block.mean, recent))
        witnesses = (Witness(),) * len(NAMES)
        return state._replace(total=(), began=None, blocks=blocks, ways=(latest, lately), witnesses=witnesses)

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
        way, centre = numbers(state.ways[i]), numbers(state.centre)
        moved = [sum(map(mul, way, map(sub, block.mean, centre))) for block in state.blocks]
        since = state.began
        for block, far in zip(reversed(state.blocks), reversed(moved), strict=True):
            if far < 0.5 * moved[-1]:
                break
            since = block.began
        return since


def usual_of(state: TrafficState) -> tuple[str, ...]:
    """The sketches of the calibration; none while there is none."""
    text = state.calibration
    return tuple(text[i : i + SKETCH] for i in range(0, len(text), SKETCH)) if state.centre else ()


@lru_cache(maxsize=1024)
def numbers(text: str, kind: Literal["b", "H"] = "b") -> Vector:
    """Whole numbers in base64: bytes from -127 to 127, or two bytes each from 0 on (little-endian)."""
    return tuple(array(kind, b64decode(text, validate=True)))


@lru_cache(maxsize=64)
def reference_of(calibration: str, centre: str, scale: str, latest: str, recent: str) -> Reference:
    """The calibration, scored."""
    mean, weights, rows, spreads = _calibrated(calibration, centre, scale)
    ways = numbers(latest), numbers(recent)
    bags = [tuple(sorted([sum(map(mul, way, row)) for row in rows])) for way in ways]
    return Reference(mean, weights, ways, (*bags, spreads))


@lru_cache(maxsize=16)
def _calibrated(calibration: str, centre: str, scale: str) -> tuple[Vector, tuple[float, ...], list[Vector], Scores]:
    """The part that stays from block to block. Sketches can stand one after another: 32 characters need no padding."""
    mean, weights = numbers(centre), tuple([64 / s for s in numbers(scale, "H")])
    every, size = array("b", b64decode(calibration, validate=True)), len(mean)
    rows = [tuple(every[i : i + size]) for i in range(0, len(every), size)]
    return mean, weights, rows, tuple(sorted([_spread(mean, weights, row) for row in rows]))


def _bets(p: float, m: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    q = p**-0.1
    square = q * q
    third = square * q
    fifth = third * square
    a, b, c, d = m
    return 0.3 * fifth * square * (a + 1), 0.5 * fifth * (b + 1), 0.7 * third * (c + 1), 0.9 * q * (d + 1)


def _packed(kind: Literal["b", "H"], values: list[int]) -> str:
    return b64encode(array(kind, values).tobytes()).decode()


def _spread(centre: Vector, weights: tuple[float, ...], x: Vector) -> int:
    away = list(map(sub, x, centre))
    # rounded once, at the end: the sum of floats is the same on every machine that follows IEEE 754
    spread: float = sum(map(mul, map(mul, away, away), weights))
    return round(spread)


def _way(mean: tuple[float, ...], centre: Vector, scale: Vector) -> str:
    """Where a mean went, in units of the variance, as whole numbers up to 127."""
    moved = [(m - c) / s for m, c, s in zip(mean, centre, scale, strict=True)]
    largest = max(map(abs, moved)) or 1.0
    return _packed("b", [round(127 * value / largest) for value in moved])
