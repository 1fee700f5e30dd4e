"""Nasty input has the outcome that docs/nasty-input.md names: one list, run here and printed there."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from httpx import Response
from structlog.testing import capture_logs
from support.inference import World, eventually, running
from support.monitor import World as MonitorWorld
from support.nasty_document import document
from support.nasty_http import CASES, KEY, Case, Client
from support.nasty_records import CASES as RECORDS
from support.nasty_records import DEAD, sample
from support.nasty_records import Case as RecordCase
from support.nobody import Nobody
from support.validator import World as ValidatorWorld

from pawl_shared.buses.memory_bus import MemoryBus
from pawl_shared.buses.port import Message
from pawl_shared.codec import decode, encode
from pawl_shared.dead_letter import dead_letter
from pawl_shared.errors import DecodeError
from pawl_shared.events import DeadLetter, InferenceLogged
from pawl_shared.running.runner import Pace, Runner
from pawl_shared.stores.memory import MemoryStore
from pawl_shared.topics import DEAD_LETTERS, DEPLOYMENTS, FEEDBACK, INFERENCES, TOPICS
from pawl_streams.feedback_join import Answer, answer_key, join
from pawl_streams.scoring import RewardPolicy
from pawl_trainer.queue import QueueFold


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("nasty"))


@pytest.fixture(scope="module")
def client(world: World) -> Iterator[Client]:
    world.deploy(1)
    with running(world, token_key=KEY.hex()) as service:
        eventually(lambda: service.health.ready)
        with capture_logs(), TestClient(service.asgi, raise_server_exceptions=False) as http:
            yield Client(http)


def statements(world: World) -> set[str]:
    return {str(event.id) for event in world.read(FEEDBACK)}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.input)
def test_a_nasty_request(case: Case, client: Client, world: World) -> None:
    before = statements(world)
    found = case.sends(client)
    for response in found if isinstance(found, list) else [found]:
        judge(case, response)
    assert len(statements(world) - before) == case.stored
    assert client.http.get("/readyz").status_code == 200
    assert client.chat().status_code == 200


def judge(case: Case, response: Response) -> None:
    assert response.status_code == case.status, response.text[:500]
    if response.status_code >= 400:
        error = response.json()["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        assert case.code in ("*", error["code"]), error
        assert 10 < len(error["message"]) < 1000


# ---------------------------------------------------------------- records


class Reader:
    """One consumer on a memory bus: `read` lets it have all that is there, and answers the reasons of dead letters."""

    def __init__(self, bus: MemoryBus, pump: Callable[[], None]) -> None:
        self.bus, self._pump = bus, pump
        self.sent = bus.producer("test")
        self._seen = 0

    def read(self, *messages: Message) -> list[str]:
        for message in messages:
            self.sent.send(message).result()
        self._pump()
        records = [record for record in self.bus.read(DEAD_LETTERS.name) if record]
        new, self._seen = records[self._seen :], len(records)
        letters = [decode(record) for record in new]
        return [letter.reason for letter in letters if isinstance(letter, DeadLetter)]


def _monitor(folder: Path) -> Reader:
    world = MonitorWorld(folder)
    return Reader(world.bus, world.pump)


def _validator(folder: Path) -> Reader:
    world = ValidatorWorld()
    return Reader(world.bus, world.pump)


def _trainer(folder: Path) -> Reader:
    bus = MemoryBus()
    bus.create_topics(TOPICS)
    pace = Pace(poll=0, sleep=lambda _: None, pool=Nobody)
    runner = Runner("trainer", "test", "0", bus, MemoryStore(), [QueueFold("test", "cpu")], {}, pace=pace)
    runner.start()

    def pump() -> None:
        runner.turn()
        while not runner.at_end():
            runner.turn()

    return Reader(bus, pump)


def _follower(folder: Path) -> Reader:
    world = World(folder)
    service = world.build()
    follower = service._follower
    position = 0

    def pump() -> None:
        nonlocal position
        records = list(world.bus.read(DEPLOYMENTS.name))
        follower.follow(records[position:])
        position = len(records)

    return Reader(world.bus, pump)


def _streams(folder: Path) -> Reader:
    """As its agent does: decode, join, encode. Faust itself runs in tests/e2e."""
    bus = MemoryBus()
    bus.create_topics(TOPICS)
    out = bus.producer("streams")
    answers: dict[str, Answer] = {}
    done: set[tuple[int, int]] = set()

    def pump() -> None:
        for record in bus.read(INFERENCES.name):
            if record is None or (record.partition, record.offset) in done:
                continue
            done.add((record.partition, record.offset))
            try:
                arrival = decode(record)
            except DecodeError as error:
                out.send(encode(dead_letter(record, "streams", "test", str(error)))).result()
                continue
            assert isinstance(arrival, InferenceLogged)
            key = answer_key(arrival)
            answers[key], revision = join(answers.get(key, Answer()), arrival, RewardPolicy(), "test")
            out.send(encode(revision)).result()

    return Reader(bus, pump)


READERS = {
    "monitor": _monitor,
    "validator": _validator,
    "trainer": _trainer,
    "inference": _follower,
    "streams": _streams,
}


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reader]:
    """One consumer of each kind for all cases: what one case breaks, the next one sees."""
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in READERS.items()}


@pytest.mark.parametrize(
    ("case", "consumer"),
    [(case, consumer) for case in RECORDS for consumer in case.consumers],
    ids=lambda value: getattr(value, "input", value),
)
def test_a_nasty_record(case: RecordCase, consumer: str, readers: dict[str, Reader]) -> None:
    reader, number = readers[consumer], 100 + RECORDS.index(case)
    messages = list(case.make(sample(consumer, number)))
    with capture_logs():
        reasons = reader.read(*messages)
    if case.outcome == DEAD:
        assert len(reasons) == len(messages)
        assert all(case.reason in reason for reason in reasons), reasons
    else:
        assert reasons == []
    assert reader.read(encode(sample(consumer, 1_000 + number))) == []


def test_the_page_says_what_is_tested() -> None:
    assert len(CASES) + len(RECORDS) >= 50
    page = Path(__file__).parents[2] / "docs" / "nasty-input.md"
    assert page.read_text() == document(), "python tests/contract/write_nasty_input.py"
