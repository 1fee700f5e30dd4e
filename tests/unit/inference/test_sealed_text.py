"""What people write leaves the process sealed, and never before its key."""

import threading
from concurrent.futures import Future
from pathlib import Path
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from support.inference import World, eventually, running

from pawl_inference.record.forwarder import Forwarder
from pawl_inference.record.journal import Journal
from pawl_inference.record.publisher import Publisher
from pawl_shared import codec
from pawl_shared.buses.memory_bus import MemoryBus
from pawl_shared.buses.port import Message, Partition, Record
from pawl_shared.packed import pack
from pawl_shared.sealed.text import is_sealed
from pawl_shared.topics import FEEDBACK, INFERENCES, KEYS

CHAT = "/v1/chat/completions"
ASKED, CORRECTED = "What does a zebra eat?", "A zebra eats grass."


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.deploy(1)
    return world


def ask(client: TestClient, **fields: object) -> dict[str, str]:
    body = {"model": "assistant", "messages": [{"role": "user", "content": ASKED}], **fields}
    answer = client.post(CHAT, json=body).json()
    return {"inference_id": answer["id"], "token": answer["metadata"]["feedback_token"]}


def correct(client: TestClient, token: dict[str, str]) -> int:
    return client.post("/v1/feedback", json=token | {"correction": CORRECTED}).status_code


def raw(world: World) -> list[Record]:
    records = (record for topic in (INFERENCES, FEEDBACK, KEYS) for record in world.bus.read(topic.name))
    return [record for record in records if record is not None]


def test_neither_the_journal_nor_the_broker_holds_text(world: World) -> None:
    with running(world) as service:
        eventually(lambda: service.health.ready)
        client = TestClient(service.asgi)
        token = ask(client, user="ada")
        assert correct(client, token) == 202
        eventually(lambda: service.journal.backlog == 0)
    disk = b"".join(path.read_bytes() for path in (world.folder / "data").rglob("*") if path.is_file())
    broker = b"".join(record.value or b"" for record in raw(world))
    for place in (disk, broker):
        assert b"zebra" not in place
        assert b"sealed:v1:" in place
    (asked,), (said,) = world.read(INFERENCES), world.read(FEEDBACK)
    assert (asked.messages[0].content, asked.words, said.text) == (ASKED, len(asked.answer.split()), CORRECTED)


def test_an_answer_waits_for_no_broker_and_its_key_is_there_before_it(world: World) -> None:
    with running(world) as service:
        eventually(lambda: service.health.ready)
        world.bus.available = False
        client = TestClient(service.asgi)
        token = ask(client, user="ada")
        assert correct(client, token) == 503
        service._forwarder.stop(grace=0.1)
        journal = [payload for _, payload in service.journal.read(10)]
        assert [KEYS.name.encode() in payload for payload in journal] == [True, False]
    world.bus.available = True
    with running(world) as service:
        eventually(lambda: service.journal.backlog == 0)
    (asked,) = world.read(INFERENCES)
    assert asked.messages[0].content == ASKED


def test_feedback_that_overtakes_the_journal_can_be_read_all_the_same(world: World) -> None:
    with running(world) as service:
        eventually(lambda: service.health.ready)
        service._forwarder.stop(grace=0.1)
        client = TestClient(service.asgi)
        assert correct(client, ask(client, user="ada")) == 202
        assert service.journal.backlog == 2
        (said,) = world.read(FEEDBACK)
        assert said.text == CORRECTED


def test_a_thumb_needs_no_key(world: World) -> None:
    with running(world) as service:
        eventually(lambda: service.health.ready)
        service._forwarder.stop(grace=0.1)
        client = TestClient(service.asgi)
        assert client.post("/v1/feedback", json=ask(client) | {"thumb": "up"}).status_code == 202
        assert list(world.bus.read(KEYS.name)) == []


def test_one_user_has_one_key_also_after_a_restart(world: World) -> None:
    for _ in range(2):
        with running(world) as service:
            eventually(lambda: service.health.ready)
            # readiness says nothing of keys: a start that has not read them yet would make one more
            eventually(lambda: service._key_follower._rounds)
            client = TestClient(service.asgi)
            for _ in range(3):
                ask(client, user="ada", metadata={"session_id": uuid4().hex})
            eventually(lambda: service.journal.backlog == 0)
    assert len([record for record in world.bus.read(KEYS.name) if record]) == 1
    assert {asked.messages[0].content for asked in world.read(INFERENCES)} == {ASKED}


def test_keys_of_people_are_remembered_once_and_those_of_single_requests_not_at_all(world: World) -> None:
    with running(world) as service:
        eventually(lambda: service.health.ready)
        client, keys, follower = TestClient(service.asgi), service.answers._answers._texts._keys, service._key_follower
        for number in range(10):
            ask(client)
            ask(client, user=f"user {number % 5}")
        eventually(lambda: service.journal.backlog == 0 and follower.remembered >= 5)
        eventually(lambda: keys.unread == 0)
        assert follower.remembered == 5
        assert len(list(world.bus.read(KEYS.name))) == 15
    assert [asked.messages[0].content for asked in world.read(INFERENCES)] == [ASKED] * 20


def test_an_erased_key_that_the_journal_sends_again_is_erased_again(world: World) -> None:
    with running(world) as service:
        eventually(lambda: service.health.ready)
        ask(TestClient(service.asgi), user="ada")
        (key,) = eventually(lambda: [record for record in world.bus.read(KEYS.name) if record])
        producer = world.bus.producer("test")
        for value in (None, key.value):
            producer.send(Message(KEYS.name, key.key, value, key.headers)).result(5)
        eventually(lambda: [record.value is None for record in raw(world) if record.key == key.key][-1])
        eventually(lambda: world.read(INFERENCES))
    assert world.read(INFERENCES)[0].answer == "[erased]"


class Slow(MemoryBus):
    """A broker that acknowledges keys only when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[str] = []
        self.waiting: Future[Partition] = Future()

    def producer(self, name: str) -> "Slow":  # type: ignore[override]
        return self

    def send(self, message: Message) -> Future[Partition]:
        self.sent.append(message.topic)
        done: Future[Partition] = Future()
        done.set_result(Partition(message.topic, 0))
        return self.waiting if message.topic == KEYS.name else done


def test_nothing_is_sent_before_the_keys_of_its_batch_are_acknowledged(tmp_path: Path) -> None:
    bus, journal = Slow(), Journal(tmp_path, max_bytes=1 << 20)
    for topic in (KEYS, INFERENCES, KEYS, INFERENCES):
        journal.append(pack(Message(topic.name, b"k", b"v")))
    forwarder = Forwarder(journal, Publisher(bus, "test", 30.0))
    forwarding = threading.Thread(target=forwarder.forward)
    forwarding.start()
    eventually(lambda: len(bus.sent) == 2)
    assert bus.sent == [KEYS.name] * 2
    bus.waiting.set_result(Partition(KEYS.name, 0))
    forwarding.join(30)
    assert bus.sent == [KEYS.name] * 2 + [INFERENCES.name] * 2
    journal.close()


def test_feedback_on_the_topic_is_sealed_text(world: World) -> None:
    with running(world) as service:
        eventually(lambda: service.health.ready)
        client = TestClient(service.asgi)
        token = ask(client)
        post = token | {"comment": "zebra", "correction": CORRECTED, "rating": 2}
        assert client.post("/v1/feedback", json=post).status_code == 202
    events = [codec.decode(record) for record in world.bus.read(FEEDBACK.name) if record]
    assert sorted(is_sealed(event.text) for event in events if event.text) == [True, True]
    assert {event.text for event in world.read(FEEDBACK)} == {"zebra", CORRECTED, None}
