"""One suite for every place where data keys live: memory, the topic on the memory bus, the topic on Kafka."""

import json
import secrets
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.inference import eventually

from pawl_shared.buses.kafka_bus import KafkaBus
from pawl_shared.buses.memory_bus import MemoryBus
from pawl_shared.buses.port import Bus, Message
from pawl_shared.clock import SystemClock
from pawl_shared.errors import BusError
from pawl_shared.sealed.key_topic import KeyFollower
from pawl_shared.sealed.master_keys import MasterKeys
from pawl_shared.sealed.text import ERASED, PREFIX, UNREADABLE, DataKey, KeyRing, MemoryKeys, is_sealed
from pawl_shared.sealed.topic_keys import TopicKeys, acknowledged
from pawl_shared.topics import KEYS


@dataclass
class Place:
    """Rings over the same keys, each as another process would have it, and a way to lose an owner's keys."""

    ring: Callable[[], KeyRing]
    erase: Callable[[str], None]


def names(bus: Bus, owner: str) -> list[bytes]:
    keys = (record.key or b"" for record in bus.read(KEYS.name) if record)
    return [key for key in dict.fromkeys(keys) if key.decode().rpartition("/")[0] == owner]


def tombstones(bus: Bus, owner: str) -> None:
    producer = bus.producer("test")
    for name in names(bus, owner):
        producer.send(Message(KEYS.name, name, None)).result(10)
    producer.close()


@pytest.fixture(params=["memory", "topic-memory", pytest.param("topic-kafka", marks=pytest.mark.kafka)])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    if request.param == "memory":
        keys = MemoryKeys()
        yield Place(lambda: KeyRing(keys), keys.erase)
        return
    bus: Bus = MemoryBus() if request.param == "topic-memory" else KafkaBus(request.getfixturevalue("kafka"))
    bus.create_topics([KEYS])
    followers: list[KeyFollower] = []
    master = secrets.token_bytes(32)

    def ring() -> KeyRing:
        masters = MasterKeys(master)
        # A reused broker holds keys of earlier runs, under other master keys; two at hand are fewer than a test needs.
        follower = KeyFollower(bus, masters, remembered=2)
        follower.start()
        followers.append(follower)
        keep = acknowledged(bus, "test")
        return KeyRing(TopicKeys(follower, masters, keep, source="test", clock=SystemClock(), remembered=2))

    yield Place(ring, lambda owner: tombstones(bus, owner))
    for follower in followers:
        follower.stop()


@pytest.fixture
def owner() -> str:
    return f"default/subject/{uuid.uuid4().hex}"


def test_what_one_seals_another_opens(place: Place, owner: str) -> None:
    edge, reader = place.ring(), place.ring()
    envelope = edge.seal(owner, "Why is the sky blue? \u2603", "here")
    assert is_sealed(envelope)
    assert "sky" not in envelope
    assert edge.open(envelope, "here") == reader.open(envelope, "here") == "Why is the sky blue? \u2603"
    assert edge.seal(owner, "again", "here").split(":")[2] == envelope.split(":")[2], "one key for one owner"


def test_two_that_make_a_key_for_one_owner_read_each_other(place: Place, owner: str) -> None:
    first, second = place.ring(), place.ring()
    envelopes = [first.seal(owner, "one", "a"), second.seal(owner, "two", "b")]
    third = place.ring()
    assert [third.open(text, where) for text, where in zip(envelopes, "ab", strict=True)] == ["one", "two"]


def test_many_owners_more_than_are_remembered(place: Place, owner: str) -> None:
    edge, reader = place.ring(), place.ring()
    owners = [f"{owner}{n}" for n in range(4)]
    edge.ensure(owners)
    envelopes = [edge.seal(each, each, "here") for each in owners]
    reader.load(envelopes)
    assert [reader.open(envelope, "here") for envelope in envelopes] == owners
    assert [edge.open(envelope, "here") for envelope in envelopes] == owners


def test_an_erased_owner_reads_so_everywhere_and_may_come_back(place: Place, owner: str) -> None:
    edge, reader = place.ring(), place.ring()
    envelope, other = edge.seal(owner, "secret", "here"), edge.seal(f"{owner}2", "kept", "here")
    assert reader.open(envelope, "here") == "secret"
    place.erase(owner)
    eventually(lambda: reader.open(envelope, "here") is ERASED and edge.open(envelope, "here") is ERASED)
    assert place.ring().open(envelope, "here") is ERASED
    assert reader.open(other, "here") == "kept"
    assert reader.open(edge.seal(owner, "back again", "here"), "here") == "back again"


def test_a_key_that_nobody_has_counts_as_erased(place: Place) -> None:
    assert place.ring().open(f"{PREFIX}{uuid.uuid4().hex}:AAAA", "here") is ERASED


def test_a_text_that_was_moved_or_damaged_is_unreadable(place: Place, owner: str) -> None:
    ring = place.ring()
    envelope = ring.seal(owner, "mine", "here")
    head, _, content = envelope.rpartition(":")
    assert ring.open(envelope, "there") is UNREADABLE
    for damaged in ("", "A", "not base64!", content[:-8], content[4:], "é"):
        assert ring.open(f"{head}:{damaged}", "here") is UNREADABLE


def test_what_was_once_sealed_can_be_opened_for_ever() -> None:
    stored = json.loads((Path(__file__).parent / "samples" / "sealed-text.v1.json").read_text())
    masters = MasterKeys(bytes.fromhex(stored["master"]))
    owner, _, key_id = stored["name"].rpartition("/")
    keys = MemoryKeys()
    keys.add([DataKey(owner, key_id, masters.unwrap(stored["name"], stored["wrapped"], stored["master_id"]))])
    assert KeyRing(keys).open(stored["envelope"], stored["place"]) == stored["text"]


def test_nothing_is_sealed_with_a_key_that_was_not_kept(owner: str) -> None:
    bus, masters = MemoryBus(), MasterKeys(b"1" * 32)
    bus.create_topics([KEYS])
    ring = KeyRing(
        TopicKeys(KeyFollower(bus, masters), masters, acknowledged(bus, "t"), source="t", clock=SystemClock())
    )
    bus.available = False
    for _ in range(2):
        with pytest.raises(BusError):
            ring.seal(owner, "text", "here")
    bus.available = True
    ring.seal(owner, "text", "here")
    assert len(names(bus, owner)) == 1
