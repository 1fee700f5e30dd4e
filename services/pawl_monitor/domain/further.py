"""Further detectors of a model: any number of a session, among all of them or in a slice, by its `detectors.more`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from pawl_monitor.domain.detectors import Decision, Observation
from pawl_monitor.domain.output import Measure, OutputPolicy, OutputState, Way
from pawl_monitor.domain.river_detectors import RiverPolicy, RiverState, installed
from pawl_shared.policies.watch_policy import Watch
from pawl_shared.prompt_slices import slice_of

MEDIAN = 0.5


class FurtherState(NamedTuple):
    """What one of them knows: pawl's, or river's."""

    pawl: OutputState = OutputState()
    river: RiverState = RiverState()


@dataclass(frozen=True, slots=True)
class Further:
    """One of them, by its name. `where`: what a session must have, by name."""

    name: str
    of: str
    where: tuple[tuple[str, str], ...]
    is_share: bool
    detector: OutputPolicy | RiverPolicy

    @property
    def guarantee(self) -> str:
        """What is proven, or that nothing is, or that it is off."""
        if isinstance(self.detector, OutputPolicy):
            return self.detector.guarantee
        if installed():
            return f"none: {self.detector.kind} of river"
        return "off: the monitor lacks river; install Pawl's extra `river` and start it again"

    def begin(self, reference: int) -> FurtherState:
        """A new reference."""
        return FurtherState()

    def step(self, state: FurtherState, seen: Observation) -> tuple[FurtherState, Decision | None]:
        """Take in one session; it says nothing where it is not of the slice, or lacks the number."""
        value = seen.reward if self.of == "approval" else seen.statistics.get(self.of)
        if value is None or (self.is_share and not 0 <= value <= 1):
            return state, None
        if not all(_of(seen, name) == wanted for name, wanted in self.where):
            return state, None
        of_it = seen._replace(statistics={self.of: value})
        if isinstance(self.detector, OutputPolicy):
            pawl, decision = self.detector.step(state.pawl, of_it)
            state = FurtherState(pawl)
        else:
            river, decision = self.detector.step(state.river, of_it)
            state = FurtherState(river=river)
        if decision is None or decision.change is None or not self.where:
            return state, decision
        slice_ = " and ".join(f"{name} is {wanted}" for name, wanted in self.where)
        change = decision.change._replace(statistic=f"{decision.change.statistic} where {slice_}")
        return state, decision._replace(change=change)


def further_of(name: str, watch: Watch, alpha: float) -> Further:
    """What an entry of a model.yaml asks for. alpha: its part of the model's budget."""
    ways: tuple[Way, ...] = ("rise", "drop") if watch.change == "both" else (watch.change,)
    measure = Measure(watch.of, None if watch.is_share else MEDIAN, ways)
    where = tuple(sorted(watch.where.items()))
    detector: OutputPolicy | RiverPolicy
    if watch.by == "pawl":
        detector = OutputPolicy(alpha, watch.reference_sessions, measures=(measure,), name=name)
    else:
        detector = RiverPolicy(name, watch.by, measure, tuple(sorted(watch.settings.items())))
    return Further(name, watch.of, where, watch.is_share, detector)


def _of(seen: Observation, name: str) -> str | None:
    match name:
        case "language":
            return seen.language
        case "prompts":
            return slice_of(seen.prompt)
        case _:
            return seen.tags.get(name)
