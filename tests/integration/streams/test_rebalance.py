"""Two streams workers share the partitions: one joins amid traffic, one is killed and comes back.

What they publish, repeats dropped as the monitor drops them, is what one fold over the whole log says.
"""

import os
import random
import signal
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.streams import RING, Streams, inference, message, said, thumb, until

from pawl_shared.access.tokens import is_marked
from pawl_shared.buses.kafka_bus import KafkaBus
from pawl_shared.buses.port import Record
from pawl_shared.codec import decode
from pawl_shared.events import FeedbackReceived, InferenceLogged, InteractionScored
from pawl_shared.topics import FEEDBACK, INFERENCES, INTERACTIONS, TOPICS
from pawl_streams.feedback_join import answer_key
from pawl_streams.fold import JoinFold
from pawl_streams.policy import Policies

pytestmark = [pytest.mark.kafka, pytest.mark.slow]
Arrival = InferenceLogged | FeedbackReceived
EVERY = set(range(INTERACTIONS.partitions))


class Traffic:
    """Answers, and what is said of any of them at any time, also before they come; one event in six comes again."""

    def __init__(self, bus: KafkaBus, seed: int, pause: float) -> None:
        # So many that each of 8 partitions has some: one without any would be waited for in vain.
        self.sessions = [uuid.UUID(int=random.Random(seed).getrandbits(128) + n).hex for n in range(96)]
        self.events: list[Arrival] = []
        self._bus, self._dice, self._pause = bus, random.Random(seed), pause
        self._answers: list[InferenceLogged] = []
        self._kept_back: list[InferenceLogged] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self) -> None:
        """What was kept back is sent, too."""
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        producer = self._bus.producer("test")
        sent = []
        while not self._stop.wait(self._pause):
            self.events.append(event := self._next())
            sent.append(producer.send(message(event)))
        self.events += self._kept_back
        sent += [producer.send(message(event)) for event in self._kept_back]
        for future in sent:
            future.result(30)
        producer.close()

    def _next(self) -> Arrival:
        dice = self._dice
        if self.events and dice.random() < 1 / 6:
            return dice.choice(self.events)
        if not self._answers or dice.random() < 1 / 3:
            answer = inference(dice.choice(self.sessions))
            self._answers.append(answer)
            if dice.random() < 2 / 3:
                return answer
            self._kept_back.append(answer)
        elif self._kept_back and dice.random() < 1 / 4:
            return self._kept_back.pop()
        answer, after = dice.choice(self._answers), timedelta(seconds=len(self.events))
        match dice.choice(("thumb", "thumb", "rating", "outcome")):
            case "thumb":
                return thumb(answer, dice.randrange(2), after)
            case "rating":
                return said(answer, "rating", dice.randrange(1, 6), after)
            case _:
                return said(answer, "outcome", dice.randrange(2), after, name="resolved")


class Published:
    """What stands on pawl.interactions of these sessions, read on and on."""

    def __init__(self, bus: KafkaBus, sessions: Sequence[str]) -> None:
        self._bus, self._sessions = bus, set(sessions)
        self.found: list[tuple[Record, InteractionScored]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self) -> None:
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def ids(self) -> set[uuid.UUID]:
        return {event.id for _, event in self.found}

    def partitions(self, instance: str, since: int) -> set[int]:
        """Those for which an instance has published since then."""
        return {r.partition for r, event in self.found[since:] if event.source == f"pawl-streams-{instance}"}

    def once(self) -> list[InteractionScored]:
        """As the monitor keeps them: the first of each id."""
        first: dict[uuid.UUID, InteractionScored] = {}
        for _, event in self.found:
            first.setdefault(event.id, event)
        return list(first.values())

    def _run(self) -> None:
        for record in self._bus.read(INTERACTIONS.name, self._stop.is_set):
            event = decode(record) if record else None
            if record and isinstance(event, InteractionScored) and event.session in self._sessions:
                self.found.append((record, event))


def standings(revisions: Sequence[InteractionScored]) -> dict[str, tuple[Any, ...]]:
    """Where each answer stands in the end: the highest revision wins, as in the monitor."""
    latest: dict[str, InteractionScored] = {}
    for revision in revisions:
        known = latest.get(answer_key(revision))
        if known is None or known.revision < revision.revision:
            latest[answer_key(revision)] = revision
    return {key: (None if r.reward is None else round(r.reward, 9), r.rated, r.joined) for key, r in latest.items()}


def differences(found: Mapping[Any, object], wanted: Mapping[Any, object]) -> dict[Any, object]:
    return {key: (found.get(key), value) for key, value in wanted.items() if found.get(key) != value}


def batch(bus: KafkaBus, sessions: Sequence[str]) -> dict[uuid.UUID, InteractionScored]:
    """One fold over both topics as they stand on the broker, first the one, then the other."""
    fold, states, found = JoinFold("batch", lambda text: None, Policies()), dict[str, Any](), {}
    for topic in (INFERENCES, FEEDBACK):
        for record in bus.read(topic.name):
            if record is None or (topic is FEEDBACK and not is_marked(RING, record)):
                continue
            event = decode(record)
            if isinstance(event, InferenceLogged | FeedbackReceived) and event.session in sessions:
                folded = fold.step(states.get, event, record.appended)
                states |= folded.states
                for revision in folded.revisions:
                    found.setdefault(revision.id, revision)
    return found


def stating(revision: InteractionScored) -> tuple[object, ...]:
    """What a revision says of its cause, which no order of arrival changes."""
    said_of, answered = revision.feedback, revision.inference
    return (
        answer_key(revision), revision.session, revision.cause, revision.time,
        (said_of.id, said_of.kind, said_of.value, said_of.time) if said_of else None,
        (answered.id, answered.answer_tokens, answered.version) if answered else None,
    )  # fmt: skip


class World:
    """Two workers amid traffic."""

    def __init__(self, kafka: str, folder: Path, pause: float) -> None:
        self.bus = KafkaBus(kafka)
        self.bus.create_topics(TOPICS)
        self.first, self.second = Streams(kafka, folder, "a"), Streams(kafka, folder, "b")
        self.traffic = Traffic(self.bus, uuid.uuid4().int, pause)
        self.published = Published(self.bus, self.traffic.sessions)

    def close(self) -> None:
        self.traffic.end()
        self.published.end()
        for worker in (self.first, self.second):
            worker.close()

    def works(self, *workers: Streams) -> None:
        """Until all partitions are worked on by these from now on, and each has a part."""
        since, parts = len(self.published.found), list[set[int]]()

        def done() -> bool:
            parts[:] = [self.published.partitions(worker.instance, since) for worker in workers]
            return all(parts) and set().union(*parts) == EVERY

        until(done, *workers)

    def judge(self) -> None:
        """What was published is what one fold over the whole log says."""
        self.traffic.end()
        wanted = batch(self.bus, self.traffic.sessions)
        direct = {identity for identity, revision in wanted.items() if revision.feedback or revision.inference}
        assert len(direct) == len({event.id for event in self.traffic.events})
        until(lambda: direct <= self.published.ids(), self.first, self.second)
        once = self.published.once()
        stated = {r.id: stating(r) for r in once}
        assert differences(stated, {identity: stating(wanted[identity]) for identity in direct}) == {}
        repeats = {stating(event) for _, event in self.published.found if event.id in direct}
        assert len(repeats) == len(direct), "a repeat differs from what it repeats"
        assert differences(standings(once), standings(list(wanted.values()))) == {}


@pytest.fixture
def world(kafka: str, tmp_path: Path) -> Iterator[World]:
    world = World(kafka, tmp_path, pause=0.05)
    yield world
    world.close()


@pytest.mark.timeout(600)
def test_two_workers_say_what_one_fold_says(world: World) -> None:
    first, second = world.first, world.second
    first.start()
    world.works(first)
    second.start()
    world.works(first, second)
    first.end(signal.SIGKILL)
    world.works(second)
    first.start()
    world.works(first, second)
    world.judge()


@pytest.mark.timeout(900)
@pytest.mark.skipif("PAWL_LONG_TESTS" not in os.environ, reason="takes two minutes: set PAWL_LONG_TESTS=1")
def test_workers_that_come_go_hang_and_die_say_what_one_fold_says(world: World) -> None:
    """A worker that hangs for longer than the group waits goes on with states that are no longer its own."""
    pair = world.first, world.second
    for worker in pair:
        worker.start()
    world.works(*pair)
    for round_ in range(4):
        one, other = pair if round_ % 2 == 0 else pair[::-1]
        one.signal(signal.SIGSTOP)  # for so long that the group gives its partitions to the other
        world.works(other)
        one.signal(signal.SIGCONT)
        world.works(*pair)
        other.end(signal.SIGTERM if round_ < 2 else signal.SIGKILL)
        world.works(one)
        other.start()
        world.works(*pair)
    world.judge()
