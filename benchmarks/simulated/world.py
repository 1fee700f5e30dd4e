"""One history: the loop from the first question to the last decision, step by step, as a seed draws it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from benchmarks.simulated import actors, work
from benchmarks.simulated.faults import Crash, Faults, FaultyBus, VirtualClock
from benchmarks.simulated.services import Blueprint, Instance, Surroundings, monitor_folds, validator_folds
from benchmarks.simulated.streams import Group, Worker

from pawl_monitor.handlers.folds import WEIGH
from pawl_monitor.handlers.retrain import WeighFeedback
from pawl_monitor.ticker import tick
from pawl_shared import events as e
from pawl_shared.buses.port import Message
from pawl_shared.codec import encode
from pawl_shared.errors import BusError
from pawl_shared.ids import uuid7
from pawl_shared.running.effects import EffectContext, EffectHandler
from pawl_shared.stores.kafka import KafkaStore
from pawl_shared.stores.memory import MemoryDatabase, MemoryStore
from pawl_shared.stores.port import Effect
from pawl_shared.topics import TOPICS, TRAINER_STATE, VALIDATOR_STATE
from pawl_trainer.queue import TRAIN, QueueFold
from pawl_validator.handlers.candidates import EVALUATE
from pawl_validator.handlers.folds import REGISTER, DeploymentFold

TICK = 1.0
WORKERS = ("a", "b")  # of the streams
RATE = 0.02
STEPS = 2_500
CALM_STEPS = 4_000


class World:
    """All services on one bus, and one hand that moves them."""

    def __init__(self, seed: int, steps: int = STEPS, rate: float = RATE) -> None:
        self.rng = Random(seed)
        self.faults = Faults(self.rng, rate)
        self.clock = VirtualClock()
        self.bus = FaultyBus(self.clock, self.faults)
        self.bus.create_topics(TOPICS)
        self.database = MemoryDatabase()
        self.feedback = work.MemoryFeedback(self.database)
        self._taste = {actors.BASE: 0.95}
        self._steps, self._change = steps, steps // 3
        self._blueprints = self._plans()
        self._around = Surroundings(self.rng, self.clock, self.bus, self.faults, self._overtake, self._watched)
        self._instances: dict[str, Instance] = {}
        self._joins = Group(self.bus, self.faults)
        self._workers: dict[str, Worker] = {}
        self.edge = actors.Edge(self.bus, self.rng, self._taste)
        self._commands: list[Message] = []
        self._overtaking = False
        self._outage = 0
        self.bugs: list[str] = []

    def _plans(self) -> dict[str, Blueprint]:
        return {
            "monitor": Blueprint(
                monitor_folds,
                lambda: MemoryStore(self.database),
                lambda: {WEIGH: WeighFeedback(self.feedback, "monitor")},
            ),
            "trainer": Blueprint(
                lambda: (QueueFold("trainer", "cpu"),),
                lambda: KafkaStore(self.bus, "trainer", TRAINER_STATE, QueueFold.topics, clock=self.clock),
                lambda: {TRAIN: work.Train(self.faults, self._taste)},
            ),
            "validator": Blueprint(
                validator_folds,
                lambda: KafkaStore(self.bus, "validator", VALIDATOR_STATE, DeploymentFold.topics, clock=self.clock),
                lambda: {REGISTER: work.Register(), EVALUATE: work.Evaluate(self.faults)},
            ),
        }

    # ------------------------------------------------------------ the history

    def run(self) -> None:
        """Trouble for so many steps, then calm until everything has come to rest.

        Raises:
            AssertionError: it does not come to rest.
        """
        self._command(e.RegisterModelCommand, base="tiny")
        for number in range(self._steps):
            if number == self._change:  # people change their minds about the base model
                self._taste[actors.BASE] = 0.1
            self._step()
        self.faults.rate, self.bus.available = 0.0, True
        for _ in range(CALM_STEPS):
            self._calm_step()
            if self._at_rest():
                return
        raise AssertionError("the loop does not come to rest although nothing disturbs it any more")

    def _step(self) -> None:
        self.clock.advance(self.rng.choice((0.0, 0.001, 0.02, 0.05, 0.1)))
        self._disturb()
        acts: list[Callable[[], None]] = [self._crowd, self._forward, self._joins_act, self._tick, self._work]
        acts += [lambda name=name: self._turn(name) for name in self._blueprints]  # type: ignore[misc]
        self.rng.choices(acts, weights=[4, 3, 4, 1, 2, 4, 2, 4])[0]()

    def _calm_step(self) -> None:
        self.clock.advance(0.5)
        self._forward()
        for name in WORKERS:
            self._joins_turn(name, None)
        for name in self._blueprints:
            self._turn(name)
        self._work()
        if self.rng.random() < 0.3:
            self._tick()

    def _at_rest(self) -> bool:
        if not self.edge.idle or self._commands or not all(worker.idle for worker in self._workers.values()):
            return False
        if len(self._instances) < len(self._blueprints) or not all(i.idle for i in self._instances.values()):
            return False
        open_sessions = [key for key, state in self.database.states.items()
                         if key.fold == "sessions" and '"observed":false' in state.value]  # fmt: skip
        return not open_sessions and not self.database.outbox

    # ------------------------------------------------------------ who acts

    def _disturb(self) -> None:
        if self._outage:
            self._outage -= 1
            self.bus.available = not self._outage
        elif self.faults.strikes("broker refuses", "for a while", 0.15):
            self.bus.available, self._outage = False, self.rng.randrange(5, 60)
        if self.rng.random() < 0.003 and self.edge.deployment is not None:
            kind = self.rng.choice((e.RetrainCommand, e.RollbackCommand, e.PauseCommand))
            self._command(kind, **({"paused": self.rng.random() < 0.3} if kind is e.PauseCommand else {}))

    def _command(self, kind: type[e.Command], **fields: object) -> None:
        identity = uuid7(self.clock.now(), self.rng)
        command = kind(id=identity, time=self.clock.now(), source="cli", model=actors.MODEL, who="op", **fields)
        self._commands.append(encode(command))

    def _crowd(self) -> None:
        self.faults.step(self.clock.now(), self.edge.act(self.clock.now()))

    def _forward(self) -> None:
        try:
            self.edge.follow()
            told = self.edge.forward()
            while self._commands:
                self.bus.producer("cli").send(self._commands[0]).result()
                self._commands.pop(0)
            self.faults.step(self.clock.now(), told)
        except (Crash, BusError):
            return  # the journal and the place in it are on disk: it goes on from there

    def _tick(self) -> None:
        if self.edge.deployment is None:
            return
        self.faults.step(self.clock.now(), "tick")
        try:
            message = encode(tick(actors.MODEL, self.clock.now(), TICK, "monitor"))
            self.bus.producer("ticker").send(message)
        except Crash:
            self._instances.pop("monitor", None)

    def _joins_act(self) -> None:
        name = self.rng.choice(WORKERS)
        worker = self._workers.get(name)
        if worker is not None and self.faults.strikes("worker hangs", f"streams {name} loses its partitions"):
            worker.hang()
        elif worker is not None and self.faults.strikes("worker stops", f"streams {name} leaves the group", 0.5):
            self._workers.pop(name).stop()
        elif self.faults.strikes("rebalance", "partitions change hands"):
            self._joins.rebalance()
        else:
            self._joins_turn(name, self.rng.randrange(1, 40))

    def _joins_turn(self, name: str, steps: int | None) -> None:
        try:
            if name not in self._workers:
                self._workers[name] = Worker(name, self._joins)
                self.faults.step(self.clock.now(), f"streams {name} starts")
            self.faults.step(self.clock.now(), f"streams {name} {self._workers[name].turn(steps)}")
        except (Crash, BusError) as error:
            self.faults.step(self.clock.now(), f"streams {name} is gone: {type(error).__name__} {error}")
            self._joins.leave(self._workers.pop(name))

    def _turn(self, name: str) -> None:
        try:
            if name not in self._instances:
                self._instances[name] = Instance(name, self._blueprints[name], self._around)
                self.faults.step(self.clock.now(), f"{name} starts")
            instance = self._instances[name]
            handled = instance.runner.turn()
            instance.finished = False
            self.faults.step(self.clock.now(), f"{name} handled {handled}")
        except (Crash, BusError) as error:  # gone; a later turn starts it again on what it has committed
            self.faults.step(self.clock.now(), f"{name} is gone: {type(error).__name__} {error}")
            self._instances.pop(name, None)

    def _work(self) -> None:
        """A piece of the work that some service owes."""
        waiting = [
            (name, work) for name, instance in self._instances.items() for work in instance.works if work.waiting
        ]
        if not waiting:
            return
        name, work = self.rng.choice(waiting)
        try:
            self._instances[name].finished = True
            work.do()
            self.faults.step(self.clock.now(), f"{name} did a piece of {work.kind}")
        except (Crash, BusError):
            self._instances.pop(name, None)

    def _watched(self, handler: EffectHandler) -> EffectHandler:
        """The handler, whose exceptions are remembered: a runner would only log them and try again."""

        def work(effect: Effect, context: EffectContext) -> Sequence[e.Event]:
            try:
                return handler(effect, context)
            except Exception as error:
                self.bugs.append(f"work of kind {effect.kind} failed: {error!r}")
                raise

        return work

    def _overtake(self, name: str) -> None:
        """A second process of a service starts, because the first one seems to be dead, and does some work."""
        if self._overtaking:
            return
        self._overtaking = True
        try:
            self._instances.pop(name, None)
            for _ in range(self.rng.randrange(1, 4)):
                self._turn(name)
        finally:
            self._overtaking = False
