"""The services with a runner, as the simulation starts them: their folds and policies, and one process of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Any

from benchmarks.simulated.faults import AtOnce, Faults, FaultyBus, FaultyStore, Late, VirtualClock, Work

from pawl_monitor.domain.approval import ApprovalPolicy
from pawl_monitor.domain.sessions import SessionPolicy
from pawl_monitor.domain.triggers import TriggerPolicy
from pawl_monitor.domain.versions import VersionPolicy
from pawl_monitor.domain.watch import WatchPolicy
from pawl_monitor.handlers.folds import RecordFold, SessionFold, WatchFold
from pawl_monitor.handlers.versions import VersionFold
from pawl_shared.running.effects import EffectHandler
from pawl_shared.running.fold import Fold
from pawl_shared.running.runner import Pace, Runner
from pawl_shared.stores.port import TransactionalStore
from pawl_validator.domain.canary import CanaryPolicy
from pawl_validator.handlers.folds import DeploymentFold

GAP = timedelta(seconds=6)
# Decisions after dozens of sessions instead of hundreds; the guarantees of these levels are not what is looked at here.
WATCH = WatchPolicy(
    ApprovalPolicy(alpha=0.2, delta=0.3, n0=8),
    TriggerPolicy(min_up=2, min_down=2, min_heldout_pairs=1, min_heldout_each=1, cooldown=timedelta(seconds=5),
                  more_data=1.0, max_rejections=50, weigh_every=timedelta(seconds=1)),
)  # fmt: skip
CANARY = CanaryPolicy(share=0.5, alpha_promote=0.2, alpha_rollback=0.2, alpha_series=0.9, limit_sessions=60)


def monitor_folds() -> tuple[Fold[Any], ...]:
    """As the monitor has them."""
    return (
        SessionFold(SessionPolicy(gap=GAP), "monitor"),
        WatchFold(WATCH, "monitor"),
        VersionFold(VersionPolicy(sessions=3, rest=timedelta(seconds=20)), "monitor"),
        RecordFold(),
    )


def validator_folds() -> tuple[Fold[Any], ...]:
    """As the validator has it."""
    return (DeploymentFold(CANARY, "validator"),)


@dataclass(frozen=True)
class Blueprint:
    """How a service with a runner is put together, again after every crash."""

    folds: Callable[[], Sequence[Fold[Any]]]
    store: Callable[[], TransactionalStore]
    handlers: Callable[[], Mapping[str, EffectHandler]]


@dataclass(frozen=True)
class Surroundings:
    """What every process finds where it starts."""

    rng: Random
    clock: VirtualClock
    bus: FaultyBus
    faults: Faults
    overtake: Callable[[str], None]  # a second process of the service of this name starts
    watched: Callable[[EffectHandler], EffectHandler]  # the same, its exceptions remembered


class Instance:
    """One process of such a service."""

    def __init__(self, name: str, blueprint: Blueprint, around: Surroundings) -> None:
        self.works: list[Work] = []
        self.finished = False  # some work, whose events no turn has published yet
        store = FaultyStore(blueprint.store(), around.faults, name, lambda: around.overtake(name))
        pace = Pace(
            poll=0,
            settle=0.002,
            effect_pause=0,
            sleep=around.clock.advance,
            pool=self._pool,
            committer=around.rng.choice((None, AtOnce, Late)),
            backlog=1,
        )
        handlers = {kind: around.watched(handler) for kind, handler in blueprint.handlers().items()}
        self.runner = Runner(name, name, "0", around.bus, store, blueprint.folds(), handlers, pace=pace)
        self.runner.start()

    def _pool(self, kind: str) -> Work:
        self.works.append(Work(kind))
        return self.works[-1]

    @property
    def idle(self) -> bool:
        """Whether nothing is left to read or to do."""
        # the end first: a commit that ends with it may leave work to do
        return self.runner.at_end() and not self.finished and not any(work.waiting for work in self.works)
