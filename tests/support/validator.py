"""A validator's runner on the memory bus with the Kafka store and a clock that tests move; the work is faked."""

import random
import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import NAMESPACE_OID, UUID, uuid5

from support.nobody import Nobody

from pawl_shared import events as e
from pawl_shared.buses.memory_bus import MemoryBus
from pawl_shared.clock import ManualClock
from pawl_shared.codec import decode, encode
from pawl_shared.ids import arm_of, derived_id, is_challenger
from pawl_shared.running.runner import Pace, Runner
from pawl_shared.stores.kafka import KafkaStore
from pawl_shared.stores.port import Commit, Effect
from pawl_shared.topics import TOPICS, VALIDATOR_STATE, topic_of
from pawl_validator.domain.canary import CanaryPolicy
from pawl_validator.handlers.candidates import EVALUATE, EvaluationOrder
from pawl_validator.handlers.folds import REGISTER, DeploymentFold

T = TypeVar("T", bound=e.Event)
MODEL = "default/assistant"
BASE, GRAPH, SLOTS, DATASET, REPORT = "b" * 64, "d" * 64, "5" * 64, "da" * 32, "7e" * 32
START = datetime(2026, 1, 1, 12, tzinfo=UTC)
GOOD, HARMFUL, UNSOUND = "aa" * 32, "ba" * 32, "dd" * 32


def version(number: int) -> str:
    """A made-up digest."""
    return f"{number:064x}"


class World:
    """One validator; `restart_every` batches it dies before its commit, and a new one goes on.

    `model`: whose commands and evidence it makes; `inputs`: all of that, with its time.
    """

    def __init__(
        self, share: float = 0.5, restart_every: int = 0, unsound: Sequence[str] = (UNSOUND,), model: str = MODEL
    ) -> None:
        self.model, self.inputs = model, list[tuple[datetime, e.Event]]()
        self._tag = "" if model == MODEL else f"{model} "
        self.clock = ManualClock(START)
        self.bus = MemoryBus(self.clock)
        self.bus.create_topics(TOPICS)
        self.policy = CanaryPolicy(share=share, limit_hours=24)
        self.orders: list[EvaluationOrder] = []
        self._producer = self.bus.producer("test")
        self.unsound = set(unsound)
        self.held = False  # no evaluation is done meanwhile
        self._restart_every, self._batches, self._sessions, self._ticks = restart_every, 0, 0, 0
        self._rng = random.Random(1)
        self.stuck = False
        self.spacing = 0.0  # seconds between events: what arrives in one millisecond has no order across topics
        self.start()

    # ------------------------------------------------------------ what happens

    def register(self, base: str = BASE) -> None:
        self.publish(
            e.RegisterModelCommand(
                id=uuid5(NAMESPACE_OID, f"{self._tag}register {base}"),
                time=self.now,
                source="test",
                model=self.model,
                base=base,
                who="op",
            )
        )

    def train(self, adapter: str, number: int = 1) -> UUID:
        run = uuid5(NAMESPACE_OID, f"{self._tag}run {number}")
        self.publish(
            e.AdapterTrained(
                id=derived_id(run, "trained"), time=self.now, source="test", model=self.model, run=run, adapter=adapter,
                base=BASE, dataset=DATASET, recipe="dpo", seed=0, seconds=1,
            )
        )  # fmt: skip
        return run

    def sessions(self, number: int, approval: Callable[[str], float], rated: float = 1.0, copies: int = 1) -> None:
        """So many sessions of one answer; `approval` of a version, or of an experiment's arm. Arms are drawn as
        inference does."""
        for _ in range(number):
            self._sessions += 1
            now, session = self.deployment, f"session {self._sessions}"
            on_trial = now.challenger is not None and now.canary is not None
            challenger = on_trial and is_challenger(now.canary, session, now.share)
            served = now.challenger if challenger and now.challenger else now.champion
            met = _arm_met(now, session)
            served = met.served if met else served
            liked = float(self._rng.random() < approval(met.name if met else served.version))
            reward = liked if self._rng.random() < rated else None
            event = e.SessionObserved(
                id=uuid5(NAMESPACE_OID, f"{self._tag}{session}"), time=self.now, source="test",
                model=self.model, session=session,
                arm="challenger" if challenger else "experiment" if met else "champion", version=served.version,
                canary=now.canary,
                revision=now.revision, reward=reward, answers=1, rated=int(reward is not None),
                started=self.now, ended=self.now, experiment=now.experiment.id if now.experiment and met else None,
                experiment_arm=met.name if met else "", statistics={"words": 10.0} if met else {},
            )  # fmt: skip
            for _ in range(copies):
                self.publish(event)

    def command(self, cls: Callable[..., e.Command], **values: object) -> None:
        self._ticks += 1
        identity = uuid5(NAMESPACE_OID, f"{self._tag}command {self._ticks}")
        self.publish(cls(id=identity, time=self.now, source="test", model=self.model, who="op", why="a test", **values))

    def tick(self, hours: float) -> None:
        self.clock.advance(timedelta(hours=hours).total_seconds())
        self._ticks += 1
        identity = uuid5(NAMESPACE_OID, f"{self._tag}tick {self._ticks}")
        self.publish(e.Tick(id=identity, time=self.now, source="test", model=self.model, number=self._ticks))

    def publish(self, *events: e.Event) -> None:
        for event in events:
            self.clock.advance(self.spacing)
            self.inputs.append((self.now, event))
            self._producer.send(encode(event))
        self.pump()

    # ------------------------------------------------------------ what is seen

    @property
    def now(self) -> datetime:
        return self.clock.now()

    @property
    def deployment(self) -> e.DeploymentChanged:
        return [event for event in self.events(e.DeploymentChanged) if event.model == self.model][-1]

    @property
    def changes(self) -> list[str]:
        return [event.change for event in self.events(e.DeploymentChanged)]

    def stage(self, adapter: str) -> str:
        return [event.stage for event in self.events(e.StageChanged) if event.version == adapter][-1]

    def events(self, cls: type[T]) -> list[T]:
        records = self.bus.read(topic_of(cls).name)
        found = [r for r in records if r is not None and dict(r.headers).get("ce_type") == cls.TYPE.encode()]
        return [event for event in map(decode, found) if isinstance(event, cls)]

    # ------------------------------------------------------------ the runner

    def pump(self) -> None:
        """Let the runner read everything, and do what it owes, until nothing is left."""
        while not self.stuck:
            if not self._runner.at_end():
                self._batches += 1
                if self._restart_every and self._batches % self._restart_every == 0:
                    self._runner._read()  # and dies with it
                    self.start()
                self._runner.turn()
            elif owed := [effect for effect in self.store.effects() if not (self.held and effect.kind == EVALUATE)]:
                for effect in owed:
                    messages = [encode(event) for event in self._work(effect)]
                    self.store.commit(Commit(messages=messages, done=[effect.id]))
            else:
                return

    def start(self) -> None:
        """A validator that takes the place of the one before."""
        if hasattr(self, "_runner"):
            self._runner.close()
        self.store = KafkaStore(self.bus, "validator", VALIDATOR_STATE, DeploymentFold.topics)
        fold = DeploymentFold(self.policy, "test")
        pace = Pace(poll=0, sleep=lambda _: None, pool=Nobody)
        handlers = dict.fromkeys((REGISTER, EVALUATE), self._work)
        self._runner = Runner("validator", "test", "0", self.bus, self.store, (fold,), handlers, pace=pace)
        self._runner.start()
        self._runner.turn()

    def _work(self, effect: Effect) -> Iterable[e.Event]:
        """What the child processes would find."""
        if effect.kind == REGISTER:
            command = e.RegisterModelCommand.model_validate_json(effect.payload)
            yield e.ModelRegistered(
                id=derived_id(command.id, "registered"), time=self.now, source="test", model=command.model,
                version=command.base, kind="base", base=command.base, graph=GRAPH,
            )  # fmt: skip
            return
        order = EvaluationOrder.model_validate_json(effect.payload)
        self.orders.append(order)
        trained = order.trained
        common = {
            "id": derived_id(effect.id, "verdict"), "time": self.now, "source": "test", "model": trained.model,
            "run": trained.run, "adapter": trained.adapter, "report": REPORT, "gates": (),
        }  # fmt: skip
        if trained.adapter in self.unsound:
            yield e.CandidateRejected(reasons=("gate retention: it forgot too much",), **common)
        else:
            yield e.CandidateValidated(slot_file=SLOTS, graph=GRAPH, champion=order.champion.version, **common)


def _arm_met(now: e.DeploymentChanged, session: str) -> e.ExperimentArm | None:
    if now.experiment is None:
        return None
    arm = arm_of(now.experiment.id, session, [arm.share for arm in now.experiment.arms])
    return None if arm is None else now.experiment.arms[arm]


class Context:
    """What an effect handler gets, with nobody who listens."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self.published: list[e.Event] = []

    def publish(self, events: Iterable[e.Event]) -> None:
        self.published.extend(events)
