"""What is known of one model: the state that the watch folds over the log, and what one session added to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from pawl_monitor.domain.approval import ApprovalState
from pawl_monitor.domain.assessment import Pending
from pawl_monitor.domain.busy import Span
from pawl_monitor.domain.clusters import Recent
from pawl_monitor.domain.detectors import Decision
from pawl_monitor.domain.explanation import Deployed, Ratings
from pawl_monitor.domain.further import FurtherState
from pawl_monitor.domain.output import OutputState
from pawl_monitor.domain.recovery import Recovery
from pawl_monitor.domain.traffic import TrafficState
from pawl_monitor.domain.trigger_state import TriggerState
from pawl_shared.events import DeployedVersion, Event
from pawl_shared.policies.model_policy import Governing


class Watched(BaseModel):
    """State of one model. `elsewhere`: its detectors watch answers of other providers; `lead`: by how much the side
    that they do not watch has come to have more sessions (see `sides`)."""

    model_config = ConfigDict(frozen=True)

    model: str
    champion: DeployedVersion | None = None
    version: str | None = None
    elsewhere: bool = False
    lead: int = 0
    revision: int = 0
    references: int = 0
    approval: ApprovalState = ApprovalState()
    traffic: TrafficState = TrafficState()
    output: OutputState = OutputState()
    further: dict[str, FurtherState] = {}
    ratings: Ratings = Ratings()
    recent: tuple[Recent, ...] = ()
    pending: tuple[Pending, ...] = ()
    busy: tuple[Span, ...] = ()
    deployments: tuple[Deployed, ...] = ()
    recovery: Recovery | None = None
    trigger: TriggerState = TriggerState()
    weighed: datetime | None = None
    configured: Governing | None = None

    @property
    def digest(self) -> str | None:
        """Of the policy that is valid now."""
        return self.configured.digest if self.configured else None


@dataclass(frozen=True)
class Observed:
    """What one session led to; no decision: it says nothing of the champion's approval. `others`: the highest evidence
    of the other detectors, in units of their thresholds."""

    state: Watched
    events: tuple[Event, ...] = ()
    detector: ApprovalState | None = None
    decision: Decision | None = None
    others: Mapping[str, float] = field(default_factory=dict)
