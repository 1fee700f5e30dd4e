"""Two models on one stack: what each does is what it does alone, whatever happens to the other, over restarts too."""

from datetime import UTC, datetime, timedelta
from heapq import merge
from itertools import zip_longest
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support import monitor, validator
from support.validator import GOOD, HARMFUL

from pawl_shared import events as e
from pawl_shared.policies.model_policy import ModelPolicy

OTHER = "acme/other"
END = datetime.max.replace(tzinfo=UTC)
Inputs = list[tuple[datetime, e.Event]]


def together(world: monitor.World, *inputs: Inputs) -> None:
    """The traffic of several worlds in one, in the order of its time. Ticks of one time come before what they bring
    about, as they do alone: else a tick of one model would close the other's sessions a tick earlier."""
    found = list(merge(*inputs, key=lambda each: each[0]))
    for (time, event), (following, _) in zip_longest(found, found[1:], fillvalue=(END, None)):
        world.clock.advance((time - world.now) / timedelta(seconds=1))
        world.publish(event)
        if following > time and not isinstance(event, e.InteractionScored):
            world.pump()


def learnt(world: monitor.World, request: e.RetrainRequested) -> list[dict[str, object]]:
    found: list[dict[str, object]] = pq.read_table(
        world.artifacts.fetch_folder(request.dataset) / "data.parquet"
    ).to_pylist()
    return found


def of(model: str, events: list[e.Event]) -> list[e.Event]:
    return [event for event in events if getattr(event, "model", "") == model]


def test_feedback_on_one_model_never_moves_the_other(tmp_path: Path) -> None:
    """The sessions of both have the same names, and its users are the same people."""
    alone = {name: monitor.World(tmp_path / name.replace("/", "-"), model=name) for name in (monitor.MODEL, OTHER)}
    for name, world in alone.items():
        world.deploy()
        world.sessions(60, approval=0.9)
        world.sessions(45, approval=0.1 if name == OTHER else 0.9, corrections=0.8)
        world.weigh()
    both = monitor.World(tmp_path / "both", restart_every=7)
    together(both, *(world.inputs for world in alone.values()))
    both.weigh()
    for name, world in alone.items():
        for kind in (e.SessionObserved, e.DriftDetected, e.VersionObserved):
            found = of(name, list(both.events(kind)))
            assert found == list(world.events(kind)), f"{kind.__name__} of {name}"
        assert both.reader.counts(name, both.now) == world.reader.counts(name, world.now)
    (found,), (known,) = both.events(e.RetrainRequested), alone[OTHER].events(e.RetrainRequested)
    assert found == known.model_copy(update={"dataset": found.dataset}), "the snapshot names places in the log"
    assert learnt(both, found) == learnt(alone[OTHER], known), "and holds the feedback of its own model alone"
    assert both.reader.models.all() == sorted(alone)
    for world in (*alone.values(), both):
        world.close()


@pytest.mark.parametrize("restart_every", [0, 3])
def test_each_model_has_a_canary_of_its_own_at_the_same_time(restart_every: int) -> None:
    """One is promoted, the other waits for approval, is tried and rolled back; sessions have the same names."""
    better = validator.World()
    better.register()
    better.train(GOOD)
    better.sessions(80, lambda which: 0.9 if which == GOOD else 0.2)
    worse = validator.World(model=OTHER)
    worse.register()
    policy = ModelPolicy.model_validate({"model": OTHER, "canary": {"approval": "both", "share": 0.5}})
    worse.command(e.ConfigureModelCommand, policy=policy, digest=policy.digest)
    worse.train(HARMFUL)
    worse.command(e.ApproveCommand, version=HARMFUL)
    worse.sessions(80, lambda which: 0.1 if which == HARMFUL else 0.9)
    worse.command(e.PauseCommand)
    assert "promoted" in better.changes
    assert worse.changes == ["registered", "canary", "rolled-back", "paused"]

    both = validator.World(restart_every=restart_every)
    # not merged by time, which stands still here, but in turns
    mine, others = better.inputs, worse.inputs
    for number in range(max(len(mine), len(others))):
        both.publish(*(event for _, event in (*mine[number : number + 1], *others[number : number + 1])))
    for world in (better, worse):
        for kind in (e.DeploymentChanged, e.StageChanged, e.ApprovalChanged, e.CanaryObserved):
            assert of(world.model, list(both.events(kind))) == list(world.events(kind)), kind.__name__
    on_trial = [event.model for event in both.events(e.DeploymentChanged) if event.change == "canary"]
    assert on_trial == [better.model, worse.model]
