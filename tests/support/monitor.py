"""A monitor's runner on the memory bus with a clock that tests move, and the traffic that it sees."""

import random
import threading
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar
from uuid import NAMESPACE_OID, uuid5

from support.nobody import Nobody

from pawl_monitor.domain.approval import ApprovalPolicy
from pawl_monitor.domain.sessions import SessionPolicy
from pawl_monitor.domain.triggers import TriggerPolicy
from pawl_monitor.domain.versions import VersionPolicy
from pawl_monitor.domain.watch import WatchPolicy
from pawl_monitor.handlers.folds import WEIGH, RecordFold, SessionFold, WatchFold
from pawl_monitor.handlers.retrain import StoredFeedback, WeighFeedback
from pawl_monitor.handlers.versions import VersionFold
from pawl_monitor.storage.counting import Counting
from pawl_monitor.storage.cursors import Cursors
from pawl_monitor.storage.duckdb_store import open_database
from pawl_monitor.storage.reader import Reader
from pawl_monitor.storage.texts import Texts
from pawl_shared import events as e
from pawl_shared.artifacts import ArtifactStore
from pawl_shared.buses.memory_bus import MemoryBus
from pawl_shared.buses.port import Message
from pawl_shared.clock import ManualClock
from pawl_shared.codec import decode, encode
from pawl_shared.policies.model_policy import ModelPolicy
from pawl_shared.running.runner import Pace, Runner
from pawl_shared.sealed.events import sealed
from pawl_shared.sealed.text import KeyRing, MemoryKeys, Opener
from pawl_shared.stores.duckdb import DuckDbStore
from pawl_shared.stores.port import Commit
from pawl_shared.topics import INTERACTIONS, TOPICS, topic_of

T = TypeVar("T", bound=e.Event)
MODEL = "default/assistant"
BASE = "b" * 64
GRAPH = "d" * 64
GAP = timedelta(seconds=20)
CHUNK = 15  # sessions between two ticks; a commit takes some 30 ms
START = datetime(2026, 1, 1, 12, tzinfo=UTC)


def tag(model: str) -> str:
    """What makes the ids of another model others."""
    return "" if model == MODEL else f"{model} "


def interaction(
    number: int,
    time: datetime,
    *,
    reward: float | None = None,
    correction: str | None = None,
    arm: e.Arm = "champion",
    version: str = BASE,
    revision: int = 1,
    session: str | None = None,
    model: str = MODEL,
    **logged_as: object,
) -> list[e.InteractionScored]:
    """An answer (its other fields: `logged_as`) and, as later revisions, a thumb and perhaps a correction."""
    inference = uuid5(NAMESPACE_OID, f"{tag(model)}inference {number}")
    place = {"model": model, "session": session or f"session {number}", "subject": f"user {number % 17}"}
    choice = logged_as.get("choice", 0)
    common = {"inference_id": inference, "model": model, "session": place["session"], "source": "test"}
    common |= {"choice": choice}
    logged = e.InferenceLogged(
        id=inference, time=time, source="test", inference_id=inference, **place,
        messages=(e.Message(role="user", content=f"What is {number % 40}?"),),
        answer=f"A long answer, number {number}, with several words in it.", finish_reason="stop", arm=arm,
        version=version, revision=revision, prompt_tokens=9, answer_tokens=12, first_token_seconds=0.1, total_seconds=1,
        **logged_as,
    )  # fmt: skip

    def statement(kind: str, value: float | None, text: str | None = None) -> e.FeedbackReceived:
        return e.FeedbackReceived(
            id=uuid5(inference, kind), time=time + timedelta(seconds=2), source="test", inference_id=inference, **place,
            kind=kind, value=value, text=text, choice=choice,
        )  # fmt: skip

    said = [] if reward is None else [statement("thumb", float(reward >= 0.5))]
    said += [statement("correction", None, correction)] if correction else []
    found = [e.InteractionScored(id=uuid5(inference, "1"), time=time, revision=1, inference=logged, **common)]
    found += [
        e.InteractionScored(
            id=uuid5(inference, str(n)), time=f.time, revision=n, feedback=f, reward=reward, rated=True, **common
        )
        for n, f in enumerate(said, 2)
    ]
    return found


class _Context:
    cancelled = threading.Event()

    def publish(self, events: Iterable[e.Event]) -> None:
        raise AssertionError("freezing a snapshot has no progress")


class World:
    """One monitor; `restart_every` batches its runner is thrown away and made anew on the same database.

    `model`: whose traffic it makes; `inputs`: all of that, with its time.
    """

    def __init__(self, folder: Path, restart_every: int = 0, n0: int = 50, model: str = MODEL) -> None:
        self.model, self.inputs = model, list[tuple[datetime, e.Event]]()
        self.clock = ManualClock(START)
        self.bus = MemoryBus(self.clock)
        self.bus.create_topics(TOPICS)
        self._cursors = Cursors(open_database(None))
        self.reader = Reader(self._cursors)
        self.artifacts = ArtifactStore(f"file://{folder}/artifacts", folder / "cache")
        self.policy = WatchPolicy(ApprovalPolicy(n0=n0), TriggerPolicy(min_heldout_pairs=1))
        self._producer = self.bus.producer("test")
        self._restart_every, self._batches, self._number, self._ticks = restart_every, 0, 0, 0
        self._rng = random.Random(1)
        self.keys = MemoryKeys()
        self.texts = Texts(Opener(self.keys))
        self._ring = KeyRing(self.keys)
        self._weigh = WeighFeedback(
            StoredFeedback(self.reader, self.artifacts, self.texts, Counting(self.reader, self.texts)), "test"
        )
        self._start()

    @property
    def now(self) -> datetime:
        return self.clock.now()

    def publish(self, *events: e.Event) -> None:
        """Texts are sealed, as the edge does."""
        for event in events:
            self.inputs.append((self.now, event))
            self._producer.send(encode(sealed(event, self._ring)))

    def malformed(self) -> None:
        """Something on pawl.interactions that nobody can read."""
        self._producer.send(Message(INTERACTIONS.name, b"k", b"not json", (("ce_type", b"unknown"),)))

    def deploy(self, version: str = BASE, revision: int = 1, change: str = "registered") -> None:
        slot_file = None if version == BASE else "e" * 64
        champion = e.DeployedVersion(version=version, base=BASE, graph=GRAPH, slot_file=slot_file)
        identity = uuid5(NAMESPACE_OID, f"{tag(self.model)}deployment {revision}")
        self.publish(
            e.DeploymentChanged(
                id=identity,
                time=self.now,
                source="test",
                model=self.model,
                revision=revision,
                champion=champion,
                change=change,
            )
        )
        self.pump()

    def configure(self, triggers: dict[str, object], reference: int = 250) -> str:
        """Apply a policy; answers its digest."""
        detectors = {"approval": {"reference_sessions": reference}}
        policy = ModelPolicy.model_validate({"model": self.model, "triggers": triggers, "detectors": detectors})
        self.publish(
            e.ConfigureModelCommand(
                id=uuid5(NAMESPACE_OID, policy.digest), time=self.now, source="test", model=self.model, who="ada",
                policy=policy, digest=policy.digest,
            )
        )  # fmt: skip
        self.pump()
        return policy.digest

    def sessions(
        self,
        number: int,
        approval: float,
        corrections: float = 0.0,
        version: str = BASE,
        revision: int = 1,
        copies: int = 1,
        arm: e.Arm = "champion",
    ) -> None:
        """So many sessions of one rated answer each, one after the other; time passes until all are closed."""
        for index in range(1, number + 1):
            self._number += 1
            liked = self._rng.random() < approval
            text = "Short." if not liked and self._rng.random() < corrections else None
            events = interaction(
                self._number,
                self.now,
                reward=float(liked),
                correction=text,
                version=version,
                revision=revision,
                model=self.model,
                arm=arm,
            )
            for _ in range(copies):
                self.publish(*events)
            self.clock.advance(3)
            if index % CHUNK == 0:
                self.tick(1)
        self.tick(GAP.total_seconds() + 1)

    def tick(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self._ticks += 1
        identity = uuid5(NAMESPACE_OID, f"{tag(self.model)}tick {self._ticks}")
        self.publish(e.Tick(id=identity, time=self.now, source="test", model=self.model, number=self._ticks))
        self.pump()

    def weigh(self) -> None:
        """Do what is owed, as the effect runner would."""
        while owed := self.store.effects():
            for effect in owed:
                found = self._weigh(effect, _Context())
                self.store.commit(Commit(messages=[encode(event) for event in found], done=[effect.id]))
            self.runner._outbox.drain()
            self.pump()

    def pump(self) -> None:
        """Let the runner read everything, also what it wrote itself."""
        while not self.runner.at_end():
            self._batches += 1
            if self._restart_every and self._batches % self._restart_every == 0:
                self.runner._read()  # and dies with it
                self.runner.close()
                self._start()
            self.runner.turn()

    def events(self, cls: type[T]) -> list[T]:
        records = self.bus.read(topic_of(cls).name)
        found = [r for r in records if r is not None and dict(r.headers).get("ce_type") == cls.TYPE.encode()]
        return [event for event in map(decode, found) if isinstance(event, cls)]

    def close(self) -> None:
        self.runner.close()
        self._cursors.close()

    def _start(self) -> None:
        self.store = DuckDbStore(self._cursors())
        folds = (
            SessionFold(SessionPolicy(gap=GAP), "test"),
            WatchFold(self.policy, "test"),
            VersionFold(VersionPolicy(), "test"),
            RecordFold(),
        )
        pace = Pace(poll=0, sleep=lambda _: None, pool=Nobody)
        self.runner = Runner("monitor", "test", "0", self.bus, self.store, folds, {WEIGH: self._weigh}, pace=pace)
        self.runner.start()
        self.runner.turn()
