"""A policy that is tried on the log: what on the log answers that which asks for a run."""

from datetime import timedelta
from uuid import UUID

import pytest
from support.monitor import BASE, GRAPH, MODEL, START

from pawl_monitor.domain.watch import WatchPolicy
from pawl_monitor.handlers.simulation import Counted, Simulated, SimulationFold
from pawl_shared import events as e
from pawl_shared.running.fold import Delivery

EARLIER, CANDIDATE, RUN = "c" * 64, "d" * 64, UUID(int=3)


def deployment(change: str, version: str, challenger: str | None = None) -> e.DeploymentChanged:
    def served(digest: str) -> dict[str, str]:
        return {"version": digest, "base": BASE, "graph": GRAPH}

    return e.DeploymentChanged.model_validate(
        {
            "id": UUID(int=2), "time": START, "source": "test", "model": MODEL, "revision": 1, "change": change,
            "champion": served(version), "challenger": served(challenger) if challenger else None,
        }
    )  # fmt: skip


def folded(*events: e.Event) -> Simulated:
    """After a person has asked for a run, and these."""
    asked = e.RetrainCommand(id=UUID(int=1), time=START, source="test", model=MODEL, who="me")
    fold, state = SimulationFold(MODEL, WatchPolicy(), Counted([])), None
    for number, event in enumerate((deployment("registered", BASE), asked, *events)):
        state = fold.step(MODEL, state, Delivery(event, START + timedelta(seconds=number), "t", 0, number)).state
    assert state is not None
    return state


CANARY = deployment("canary", BASE, CANDIDATE)
VALIDATED = e.CandidateValidated(
    id=UUID(int=4), time=START, source="test", model=MODEL, run=RUN, adapter=CANDIDATE, slot_file=BASE, graph=GRAPH,
    report=BASE, gates=(),
)  # fmt: skip
REQUESTED = e.RetrainRequested(id=RUN, time=START, source="test", model=MODEL, dataset=BASE, base=BASE)


@pytest.mark.parametrize(
    "events",
    [
        (CANARY, deployment("promoted", CANDIDATE)),
        (REQUESTED, VALIDATED, deployment("promoted", CANDIDATE)),
        (CANARY, deployment("pinned", CANDIDATE)),
    ],
    ids=["after its canary", "by a person, before its canary", "pinned"],
)
def test_the_candidate_as_champion_answers(events: tuple[e.Event, ...]) -> None:
    assert folded(*events).watched.trigger.occasion is None


@pytest.mark.parametrize(
    "events",
    [
        (deployment("promoted", EARLIER),),
        (CANARY, deployment("promoted", EARLIER)),
        (CANARY, deployment("rolled-back", BASE), deployment("promoted", CANDIDATE)),
    ],
    ids=["an earlier version", "an earlier version instead of the candidate", "what was refused before"],
)
def test_another_version_that_a_person_brings_back_does_not(events: tuple[e.Event, ...]) -> None:
    assert folded(*events).watched.trigger.occasion is not None
