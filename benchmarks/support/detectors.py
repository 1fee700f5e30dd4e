"""Detectors under one call, `step(value) -> alarm`, and the seeded streams that they are compared on."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from datetime import UTC, datetime
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pawl_monitor.domain.approval import ApprovalPolicy
from pawl_monitor.domain.detectors import Observation
from pawl_monitor.domain.output import OutputPolicy
from pawl_monitor.domain.traffic import TrafficPolicy

START = datetime(2026, 1, 1, tzinfo=UTC)
RIVER = ("ADWIN", "PageHinkley", "KSWIN")
Values = NDArray[np.float64]


class Running(Protocol):
    """A detector with its state. A copy goes on from there."""

    def step(self, value: Any) -> bool:
        """Whether the alarm is raised now; it then starts anew."""


class Pawl:
    """Any of Pawl's detectors; `name` makes the random numbers of this stream its own."""

    def __init__(self, policy: ApprovalPolicy | OutputPolicy | TrafficPolicy, name: str) -> None:
        self._policy: Any = policy
        self._name, self._number, self._reference = name, 0, 1
        self._state = self._policy.begin(1)

    def branch(self, name: str) -> Pawl:
        """The same state, with other random numbers from here on."""
        other = copy(self)
        other._name = name
        return other

    def step(self, value: Any) -> bool:
        self._number += 1
        session, policy = f"{self._name}/{self._number}", self._policy
        if isinstance(value, float):
            seen = Observation(session, value, START)
        elif isinstance(value, str):
            seen = Observation(session, None, START, {}, value)
        else:
            seen = Observation(session, None, START, value)
        self._state, decision = policy.step(self._state, seen)
        if decision is None or decision.change is None:
            return False
        self._reference += 1
        self._state = policy.begin(self._reference)
        return True


class River:
    """One of river's, as it comes; it starts anew by itself."""

    def __init__(self, name: str) -> None:
        options = {"seed": 1} if name == "KSWIN" else {}
        self._detector = getattr(import_module("river.drift"), name)(**options)

    def step(self, value: float) -> bool:
        self._detector.update(value)
        return bool(self._detector.drift_detected)


class Always:
    """Says drift to everything: the least delay, and no use."""

    def step(self, value: float) -> bool:
        return True


def has_river() -> bool:
    """Whether river is installed."""
    return find_spec("river") is not None


def make(name: str, stream: str) -> Running:
    """A detector of approval by name."""
    if name in RIVER:
        return River(name)
    return Always() if name == "always" else Pawl(ApprovalPolicy(), stream)


# ---------------------------------------------------------------- streams


def rated(rates: Values, seed: int) -> Iterator[float]:
    """Liked or not, session by session."""
    rng = np.random.default_rng(seed)
    return iter((rng.random(len(rates)) < rates).astype(float).tolist())


def steady(rate: float, sessions: int, seed: int) -> Iterator[float]:
    """Independent sessions of one rate."""
    return rated(np.full(sessions, rate), seed)


def of_users(rate: float, sessions: int, seed: int, in_a_row: int = 1) -> Iterator[float]:
    """Sessions of 10,000 users, some of whom come often (Zipf, exponent 1.1) and who differ (beta, ICC 0.2)."""
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1, 10_001) ** 1.1
    users = rng.choice(10_000, sessions // in_a_row + 1, p=weights / weights.sum())
    opinions = rng.beta(rate * 4, (1 - rate) * 4, 10_000)
    return rated(np.repeat(opinions[users], in_a_row)[:sessions], seed + 1)


def daily(rate: float, sessions: int, seed: int, swing: float = 0.05, day: int = 2_000) -> Iterator[float]:
    """A rate that rises and falls by `swing` every `day` sessions."""
    return rated(rate + swing * np.sin(2 * np.pi * np.arange(sessions) / day), seed)


def sketches(sessions: int, seed: int) -> Iterator[str]:
    """Sketches of prompts of five topics."""
    rng = np.random.default_rng(seed)
    topics = rng.normal(0, 30, (5, 24))
    drawn = topics[rng.integers(0, 5, sessions)] + rng.normal(0, 40, (sessions, 24))
    rows = np.clip(np.rint(drawn), -127, 127).astype(np.int8)
    return (b64encode(row.tobytes()).decode() for row in rows)


def answers(sessions: int, seed: int) -> Iterator[dict[str, float]]:
    """Statistics of answers."""
    rng = np.random.default_rng(seed)
    columns = {
        "words": np.rint(rng.lognormal(3, 0.6, sessions)),
        "seconds": rng.lognormal(0, 0.5, sessions),
        "empty": (rng.random(sessions) < 0.002).astype(float),
        "cut": (rng.random(sessions) < 0.1).astype(float),
        "repetition": rng.beta(1, 20, sessions),
    }
    names = list(columns)
    return (dict(zip(names, row, strict=True)) for row in zip(*(columns[n].tolist() for n in names), strict=True))


def alarms(detector: Running, stream: Iterable[Any]) -> int:
    """How often it raises the alarm."""
    step: Callable[[Any], bool] = detector.step
    return sum(map(step, stream))
