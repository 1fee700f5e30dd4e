"""kill -9 of every process while the loop turns: it comes back, ends in a promotion, and nothing is lost or doubled."""

import os
import queue
import random
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx
import openai
import psutil
import pytest
from benchmarks.support.tiny_model import write_random_tiny

from pawl_cli.log.follow import Follower
from pawl_cli.running.stack import Options, Stack, Wanted
from pawl_shared import events as e
from pawl_shared.codec import decode
from pawl_shared.policies.model_policy import Approval, Canary, Detectors, Gates, ModelPolicy, Probes, Triggers
from pawl_shared.topics import CANDIDATES, DEPLOYMENTS, DRIFT, EVIDENCE, FEEDBACK, INFERENCES, TRAINING, Topic

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.model,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif("PAWL_LONG_TESTS" not in os.environ, reason="takes four minutes: set PAWL_LONG_TESTS=1"),
]

# A tiny model learns in seconds, but not to write: its gates let pass what SmolLM2's would not.
ENVIRONMENT = {
    "PAWL_SESSION_GAP_SECONDS": "2",
    "PAWL_TICK_SECONDS": "0.5",
    "PAWL_GATHER_SECONDS": "0.1",
    "PAWL_LEARNING_RATE": "0.005",
}
POLICY = ModelPolicy(
    detectors=Detectors(approval=Approval(reference_sessions=40)),
    triggers=Triggers(weigh_every=timedelta(seconds=1), cooldown=timedelta(seconds=1)),
    gates=Gates(max_perplexity_rise=9, max_degeneration_rise=0.99),
    probes=Probes(prompts=48),
    canary=Canary(share=0.5),
)
CORRECTION = "Yes."


@dataclass
class Crowd:
    """Visitors in threads. They like the base until their taste changes; then only its successor."""

    url: str
    base: str = ""
    shifted: threading.Event = field(default_factory=threading.Event)
    stop: threading.Event = field(default_factory=threading.Event)
    answered: queue.SimpleQueue[str] = field(default_factory=queue.SimpleQueue)
    acknowledged: queue.SimpleQueue[str] = field(default_factory=queue.SimpleQueue)

    def start(self, visitors: int) -> None:
        self._threads = [threading.Thread(target=self._visit, args=[n], daemon=True) for n in range(visitors)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def _visit(self, number: int) -> None:
        dice = random.Random(number)
        with openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0) as client:
            while not self.stop.is_set():
                try:
                    self._session(client, dice)
                    self.stop.wait(0.2)
                except (openai.OpenAIError, httpx.HTTPError):
                    self.stop.wait(0.5)  # the service, or its broker, is away for a moment

    def _session(self, client: openai.OpenAI, dice: random.Random) -> None:
        answer = client.chat.completions.create(
            model="assistant",
            messages=[{"role": "user", "content": f"Tell me about number {dice.randrange(10**6)}."}],
            max_tokens=6,
            user=f"user-{dice.randrange(30)}",
            metadata={"session_id": uuid.UUID(int=dice.getrandbits(128)).hex},
        )
        self.answered.put(answer.id)
        metadata: Any = answer.metadata
        happy = dice.random() < (0.9 if not self.shifted.is_set() or metadata["version"] != self.base else 0.1)
        opinion = {"thumb": "up"} if happy else {"thumb": "down", "correction": CORRECTION}
        body = {"inference_id": answer.id, "token": metadata["feedback_token"], **opinion}
        response = httpx.post(f"{self.url}/v1/feedback", json=body, timeout=60)
        response.raise_for_status()
        for identity in response.json()["ids"]:
            self.acknowledged.put(identity)


class World:
    """A running Pawl, watched; its supervisor is polled by one thread, which a killed child must not outlive."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.told: list[str] = []
        self.follower = Follower(stack.bus, (DRIFT, TRAINING, CANDIDATES, DEPLOYMENTS))
        self.events: list[e.Event] = []

    def until(self, *kinds: type[e.Event], what: Any = lambda event: True, seconds: float = 240) -> e.Event:
        """Keeps everything running until such an event has come."""
        give_up = time.monotonic() + seconds
        seen = 0
        while True:
            self.turn()
            for event in self.events[seen:]:
                seen += 1
                if isinstance(event, kinds) and what(event):
                    return event
            assert time.monotonic() < give_up, (kinds, self.told, [type(event).__name__ for event in self.events])

    def turn(self) -> None:
        happenings = self.stack.poll()
        self.told += [f"{h.unit}: {h.text}" for h in happenings]
        assert not any(h.final for h in happenings), self.told
        while not self.follower.events.empty():
            self.events.append(self.follower.events.get())
        time.sleep(0.05)

    def ready(self, seconds: float = 120) -> None:
        give_up = time.monotonic() + seconds
        while obstacles := self.stack.obstacles():
            self.turn()
            assert time.monotonic() < give_up, (obstacles, self.told)

    def kill(self, *units: str) -> None:
        """kill -9, and wait until each runs again under another pid."""
        before = self.stack.supervisor.pids()
        for unit in units:
            os.kill(before[unit], signal.SIGKILL)
        give_up = time.monotonic() + 60
        while any(self.stack.supervisor.pids().get(unit, before[unit]) == before[unit] for unit in units):
            self.turn()
            assert time.monotonic() < give_up, self.told

    def logged(self, topic: Topic) -> list[e.Event]:
        return [decode(record) for record in self.stack.bus.read(topic.name) if record]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    base = write_random_tiny(tmp_path_factory.mktemp("base") / "tiny")
    data = tmp_path_factory.mktemp("data")
    stack = Stack(Options(data=data, base=str(base), environment=ENVIRONMENT, models=(Wanted(policy=POLICY),)))
    try:
        stack.start(lambda *_: None)
        yield World(stack)
    finally:
        stack.stop()
    mine = [p for p in psutil.process_iter(["cmdline"]) if str(data) in " ".join(p.info["cmdline"] or ())]
    assert mine == []


def test_the_loop_survives_a_kill_of_every_process_and_loses_nothing(world: World) -> None:
    crowd = Crowd(world.stack.urls["inference"])
    begun = world.until(e.DeploymentChanged)
    assert isinstance(begun, e.DeploymentChanged)
    crowd.base = begun.champion.version
    crowd.start(4)

    def observed(count: int) -> None:
        give_up = time.monotonic() + 120
        while sum(event.rated > 0 for event in observations(world)) < count:
            world.turn()
            assert time.monotonic() < give_up, world.told

    world.kill("streams")
    world.kill("inference", "monitor")
    observed(50)  # the reference is learnt while all of them come back
    crowd.shifted.set()
    world.until(e.DriftDetected, what=lambda event: event.fell)
    world.kill("monitor")
    world.until(e.TrainingStarted)
    world.kill("trainer")
    world.until(e.AdapterTrained)
    world.kill("validator")
    world.until(e.DeploymentChanged, what=lambda event: event.change == "canary")
    world.kill("kafka")
    world.kill("validator", "inference")
    promoted = world.until(e.DeploymentChanged, what=lambda event: event.change == "promoted")
    assert isinstance(promoted, e.DeploymentChanged)
    assert promoted.champion.version != crowd.base
    world.ready()
    crowd.end()
    nothing_is_lost_or_doubled(world, crowd)


def nothing_is_lost_or_doubled(world: World, crowd: Crowd) -> None:
    answered, acknowledged = set(drain(crowd.answered)), set(drain(crowd.acknowledged))
    assert len(answered) > 100

    def logged_answers() -> set[str]:
        return {str(event.inference_id) for event in world.logged(INFERENCES) if isinstance(event, e.InferenceLogged)}

    give_up = time.monotonic() + 60
    while answered - logged_answers():
        world.turn()
        assert time.monotonic() < give_up, f"{len(answered - logged_answers())} answers never reached the log"
    assert acknowledged <= {str(event.id) for event in world.logged(FEEDBACK)}

    logged = [event for event in world.logged(INFERENCES) if isinstance(event, e.InferenceLogged)]

    # Journal and outbox send again what they may have sent before they were killed; its ids say so to every reader.
    give_up = time.monotonic() + 90
    while lacking := {event.session for event in logged} - {event.session for event in observations(world)}:
        world.turn()
        assert time.monotonic() < give_up, f"{len(lacking)} sessions never became evidence"
    sessions = Counter(event.session for event in observations(world))
    assert {session: n for session, n in sessions.items() if n > 1} == {}, "a session counted twice"

    for topic in (CANDIDATES, DEPLOYMENTS):
        assert max(Counter(event.id for event in world.logged(topic)).values()) == 1, topic.name
    revisions = [event.revision for event in world.logged(DEPLOYMENTS) if isinstance(event, e.DeploymentChanged)]
    assert revisions == list(range(1, len(revisions) + 1))
    trained = [event.run for event in world.logged(CANDIDATES) if isinstance(event, e.AdapterTrained)]
    assert len(trained) == len(set(trained))


def observations(world: World) -> list[e.SessionObserved]:
    found = {event.id: event for event in world.logged(EVIDENCE) if isinstance(event, e.SessionObserved)}
    return list(found.values())


def drain(source: "queue.SimpleQueue[str]") -> list[str]:
    return [source.get() for _ in range(source.qsize())]
