"""river's drift detectors behind the port of detectors.py. Nothing is proven of their false alarms.

Their state is the numbers that they have seen, rounded to single precision, and a detector is made again by showing it
these: by river's public interface alone, and exactly. So that this stays small, a detector begins anew with the latest
half of its numbers when it has seen as many as LIMITS says. KSWIN draws at random: from the session that it began with.

Measured (docs/limits.md): ADWIN 0.0 to 0.1 false alarms in 100,000 stable sessions, PageHinkley 2.8 to 10.7, KSWIN
thousands. KSWIN takes up to a millisecond a session.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from importlib.util import find_spec
from itertools import accumulate
from math import sqrt
from statistics import fmean
from struct import iter_unpack, pack, unpack
from typing import Any, Literal, NamedTuple

from pawl_monitor.domain.detectors import Change, Decision, Direction, Observation, keep_example
from pawl_monitor.domain.intervals import estimate
from pawl_monitor.domain.output import Measure
from pawl_shared.ids import uniform

Kind = Literal["adwin", "page-hinkley", "kswin"]
# Numbers that are kept at most, and after that; multiples of EVERY.
LIMITS: dict[Kind, tuple[int, int]] = {"adwin": (2048, 1024), "page-hinkley": (2048, 1024), "kswin": (512, 128)}
EVERY = 64  # numbers for which one time is kept
LARGEST = 1e30  # single precision ends at 3e38
LEAST = 5  # sessions before and after a change
DIGITS = 8  # of a number, in hex


class RiverState(NamedTuple):
    """What a detector has seen: `first` is the session that it began with, `marks` the times of every 64th."""

    first: str = ""
    values: str = ""
    marks: tuple[datetime, ...] = ()
    examples: tuple[str, ...] = ()


@lru_cache(maxsize=1)
def installed() -> bool:
    """Whether the library is there."""
    return find_spec("river") is not None


@dataclass(frozen=True, slots=True)
class RiverPolicy:
    """Which detector watches which number. `settings`: where they are not river's defaults."""

    name: str
    kind: Kind
    measure: Measure
    settings: tuple[tuple[str, float], ...] = ()
    guarantee: str = ""

    def begin(self, reference: int) -> RiverState:
        """It has seen nothing."""
        return RiverState()

    def step(self, state: RiverState, seen: Observation) -> tuple[RiverState, Decision | None]:
        """Take in one session. Without the library nothing is seen, and nothing fails."""
        value = seen.statistics.get(self.measure.name)
        if value is None or not installed():
            return state, None
        digits = pack("<f", min(max(value, -LARGEST), LARGEST)).hex()
        known = len(state.values) // DIGITS
        marks = state.marks if known % EVERY else (*state.marks, seen.time)
        new = RiverState(
            state.first or seen.session, state.values + digits, marks, keep_example(state.examples, seen.example)
        )
        detector = self._live(state, new.first)
        detector.update(_number(digits))
        if detector.drift_detected:
            change = self._explain(new, seen.time)
            wanted = change is not None and (change.direction == "drift" or change.direction in self.measure.ways)
            if change is None or not wanted:
                return RiverState(), Decision("stable", {self.measure.name: 0.0})
            return new, Decision(change.direction, {self.measure.name: 1.0}, change)
        most, kept = LIMITS[self.kind]
        if known + 1 >= most:
            new = RiverState(seen.session, new.values[-kept * DIGITS :], new.marks[-kept // EVERY :], new.examples)
        else:
            _keep(new.values, detector)
        return new, Decision("stable", {self.measure.name: 0.0})

    def _live(self, state: RiverState, first: str) -> Any:
        """The detector that has seen all of the state: the one that made it, or made again."""
        known = _LIVE.pop(id(state.values), None)
        if known is not None and known[0] is state.values and known[1] is not None and state.values:
            return known[1]
        detector = self._made(first)
        for value in numbers(state.values):
            detector.update(value)
        return detector

    def _made(self, first: str) -> Any:
        from river import drift  # here, since it is an extra

        settings: dict[str, Any] = {name: int(v) if name == "min_instances" else v for name, v in self.settings}
        match self.kind:
            case "adwin":
                return drift.ADWIN(**settings)
            case "page-hinkley":
                return drift.PageHinkley(**settings)
            case "kswin":
                return drift.KSWIN(seed=int(uniform("kswin", first) * 2**32), **settings)

    def _explain(self, state: RiverState, now: datetime) -> Change | None:
        """The likeliest change of the mean within what is kept; none: too little is."""
        values = numbers(state.values)
        place = likeliest(values)
        if place is None:
            return None
        before, after = values[:place], values[place:]
        name = self.measure.name
        moved = fmean(after) - fmean(before)
        if self.measure.above is None:
            totals = sum(before), sum(after)
        else:
            limit = sorted(before)[int(self.measure.above * (len(before) - 1))]
            name = f"{name} above {limit:.3g}"
            totals = float(sum(v > limit for v in before)), float(sum(v > limit for v in after))
        then, since = estimate(totals[0], len(before)), estimate(totals[1], len(after))
        assert then is not None
        assert since is not None
        way: Direction = "rise" if moved > 0 else "drop" if moved < 0 else "drift"
        at = state.marks[min(place // EVERY, len(state.marks) - 1)] if state.marks else now
        return Change(name, way, at, then, since, 1.0, 1.0, f"{self.name}/{self.kind}", state.examples)


def numbers(values: str) -> list[float]:
    """The numbers of a state."""
    return [value for (value,) in iter_unpack("<f", bytes.fromhex(values))]


def likeliest(values: list[float]) -> int | None:
    """Where the mean most likely changed: the greatest standardised CUSUM (Page, 1955)."""
    n = len(values)
    if n < 2 * LEAST:
        return None
    sums = list(accumulate(values))
    mean = sums[-1] / n
    return max(range(LEAST, n - LEAST + 1), key=lambda i: abs(sums[i - 1] - i * mean) / sqrt(i * (n - i)))


def _number(digits: str) -> float:
    value: float = unpack("<f", bytes.fromhex(digits))[0]
    return value


# Detectors by the identity of what they have seen, which is held so that it stays theirs. A memo: without it all is the
# same, and slower. One that goes on is taken out.
_LIVE: OrderedDict[int, tuple[str, Any]] = OrderedDict()
MEMO = 256


def _keep(values: str, detector: Any) -> None:
    _LIVE[id(values)] = values, detector
    while len(_LIVE) > MEMO:
        _LIVE.popitem(last=False)
