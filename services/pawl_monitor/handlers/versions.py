"""Evidence into the live figures of each version."""

from __future__ import annotations

from collections.abc import Sequence

from pawl_monitor.domain.versions import Version, VersionPolicy, observed, told
from pawl_shared import events as e
from pawl_shared import topics
from pawl_shared.ids import derived_id
from pawl_shared.running.fold import Delivery, Step
from pawl_shared.topics import names


class VersionFold:
    """One state a model and version. What it tells follows from the session, or the Tick, that made it due."""

    name = "versions"
    topics = names(topics.EVIDENCE)
    state = Version

    def __init__(self, policy: VersionPolicy, source: str) -> None:
        self._policy, self._source = policy, source

    def keys(self, event: e.Event) -> Sequence[str]:
        # Settings and prompts of an experiment's arm are no property of the version that it serves, and what answered
        # elsewhere is none of ours.
        if isinstance(event, e.SessionObserved) and event.arm in ("champion", "challenger"):
            return [f"{event.model} {event.version}"]
        return []

    def step(self, key: str, state: Version | None, delivery: Delivery) -> Step[Version]:
        event = delivery.event
        assert isinstance(event, e.SessionObserved), "keys() lets nothing else in"
        state, now = self._policy.step(state or Version(event.model, event.version), event, delivery.at)
        return self._tell(state, delivery) if now else Step(state, due=state.due)

    def timer(self, key: str, state: Version, tick: Delivery) -> Step[Version]:
        """By its own model's time alone: a replay may meet that of another, in another partition, at another place."""
        if tick.event.key != state.model:
            return Step(state, due=state.due)
        return self._tell(state, tick)

    def _tell(self, state: Version, delivery: Delivery) -> Step[Version]:
        cause = delivery.event.id
        identity = derived_id(cause, f"{e.VersionObserved.TYPE} {state.model} {state.version}")
        return Step(told(state), events=(observed(state, identity, cause, delivery.event.time, self._source),))
