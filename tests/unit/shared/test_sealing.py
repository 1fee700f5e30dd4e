"""Envelopes, the events that hold them, and master keys."""

import secrets
from pathlib import Path
from random import Random
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.inference import eventually
from support.samples import FEEDBACK, INFERENCE, SAMPLES

from pawl_shared import events as e
from pawl_shared.buses.memory_bus import MemoryBus
from pawl_shared.buses.port import Message, Record
from pawl_shared.clock import SystemClock
from pawl_shared.codec import decode, encode
from pawl_shared.errors import ConfigurationError, KeysUnreadableError
from pawl_shared.ids import uuid7
from pawl_shared.sealed import master_keys
from pawl_shared.sealed.events import all_sealed, of_one_request, opened, owner_of, resealed, sealed
from pawl_shared.sealed.key_topic import KeyFollower
from pawl_shared.sealed.master_keys import MasterKeys
from pawl_shared.sealed.text import ERASED, UNREADABLE, KeyRing, MemoryKeys, Opener, is_sealed
from pawl_shared.sealed.topic_keys import TopicKeys, acknowledged
from pawl_shared.settings import PawlSettings
from pawl_shared.topics import KEYS

SCORED = next(event for event in SAMPLES if isinstance(event, e.InteractionScored))
ANY_TEXT = st.text(st.characters())  # with lone surrogates, which JSON can write


def same_text(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@given(ANY_TEXT, ANY_TEXT)
def test_any_text_comes_back_and_stays_in_its_place(text: str, place: str) -> None:
    ring = KeyRing(MemoryKeys())
    envelope = ring.seal("o", text, place)
    assert ring.open(envelope, place) == same_text(text)
    assert ring.open(envelope, place + "!") is UNREADABLE
    assert envelope.isascii()


@given(ANY_TEXT)
def test_what_was_never_sealed_or_is_made_up_stops_nothing(text: str) -> None:
    ring = KeyRing(MemoryKeys())
    assert ring.open(text, "here") == text or is_sealed(text)
    assert ring.open(f"sealed:v1:{text}", "here") in (ERASED, UNREADABLE)


def test_a_text_that_looks_like_an_envelope_is_sealed_like_any_other() -> None:
    ring = KeyRing(MemoryKeys())
    inner = ring.seal("o", "text", "here")
    assert ring.open(ring.seal("o", inner, "here"), "here") == inner


def test_the_same_text_never_looks_the_same() -> None:
    ring = KeyRing(MemoryKeys())
    assert len({ring.seal("o", "text", "here") for _ in range(100)}) == 100


@pytest.mark.parametrize("event", [INFERENCE, FEEDBACK, SCORED], ids=lambda event: type(event).__name__)
def test_a_sealed_event_passes_kafka_without_its_text_and_can_be_opened(event: e.Event) -> None:
    ring = KeyRing(MemoryKeys())
    message = encode(sealed(event, ring))
    for text in ("Why is the sky", "scatters", "blue light"):
        assert text.encode() not in (message.value or b"")
    back = decode(Record(message.topic, 0, 0, event.time, message.key, message.value, message.headers))
    assert opened(back, ring) == opened(event, ring)
    assert isinstance(back, e.InferenceLogged | e.FeedbackReceived | e.InteractionScored)
    assert (back.session, back.model, back.key) == (event.session, event.model, event.key)  # type: ignore[attr-defined]


def test_an_answer_keeps_its_words_when_it_is_sealed_and_when_it_is_erased() -> None:
    keys = MemoryKeys()
    event = sealed(INFERENCE, KeyRing(keys))
    assert (INFERENCE.words, event.words) == (3, 3)
    keys.erase(owner_of(event))
    gone = opened(event, KeyRing(keys))
    assert (gone.answer, gone.messages[0].content, gone.words) == ("[erased]", "[erased]", 3)


def test_a_text_cannot_be_moved_to_another_answer_field_or_turn() -> None:
    ring = KeyRing(MemoryKeys())
    event = sealed(INFERENCE, ring)
    for moved in (
        event.model_copy(update={"inference_id": UUID(int=1)}),
        event.model_copy(update={"choice": 1}),
        event.model_copy(update={"answer": event.messages[0].content}),
        event.model_copy(update={"messages": (event.messages[0], event.messages[0])}),
    ):
        back = opened(moved, ring)
        assert UNREADABLE in (back.answer, *(turn.content for turn in back.messages))
    comment = sealed(FEEDBACK, ring).model_copy(update={"kind": "comment"})
    assert opened(comment, ring).text is UNREADABLE


def test_texts_of_one_subject_have_one_key_and_of_two_sessions_two() -> None:
    keys = MemoryKeys()
    others = [INFERENCE.model_copy(update={"session": name, "subject": None}) for name in ("a", "b")]
    owners = [owner_of(event) for event in (INFERENCE, FEEDBACK, *others)]
    all_sealed([INFERENCE, FEEDBACK, *others], KeyRing(keys))
    assert owners == [f"default/subject/{'0f' * 16}"] * 2 + ["default/session/a", "default/session/b"]
    keys.erase("default/session/a")
    assert [keys.current(owner) is None for owner in owners] == [False, False, True, False]


def scrubbed(event: e.InferenceLogged) -> e.InferenceLogged:
    turns = (turn.model_copy(update={"content": turn.content.replace("sky", "<sky>")}) for turn in event.messages)
    return event.model_copy(update={"messages": tuple(turns)})


def test_rewriting_changes_seals_and_leaves_the_erased_alone() -> None:
    keys = MemoryKeys()
    ring = KeyRing(keys)
    event = sealed(INFERENCE, ring)
    again = resealed(event, scrubbed(opened(event, ring)), ring)
    assert opened(again, ring).messages[0].content == "Why is the <sky> blue? \u2603"
    assert again.answer == event.answer, "what did not change keeps its envelope"
    plain = resealed(FEEDBACK, opened(FEEDBACK, ring), ring)
    assert is_sealed(plain.text or "")
    assert opened(plain, ring).text == FEEDBACK.text
    keys.erase(owner_of(event))
    assert resealed(event, opened(event, ring), ring) == event
    assert keys.current(owner_of(event)) is None, "no key is made for somebody who was erased"


def test_an_older_master_key_still_unwraps_and_a_foreign_one_says_what_to_do() -> None:
    old, new = secrets.token_bytes(32), secrets.token_bytes(32)
    before, after = MasterKeys(old), MasterKeys(new, old)
    wrapped = before.wrap("name", b"s" * 32)
    assert after.newest != before.newest
    assert after.unwrap("name", wrapped, before.newest) == b"s" * 32
    with pytest.raises(KeysUnreadableError, match=r"PAWL_MASTER_KEYS"):
        before.unwrap("name", after.wrap("name", b"s" * 32), after.newest)
    with pytest.raises(KeysUnreadableError, match="moved"):
        before.unwrap("other name", wrapped, before.newest)


def test_text_under_a_foreign_master_key_is_unreadable_and_not_erased() -> None:
    bus = MemoryBus()
    bus.create_topics([KEYS])
    rings = []
    for masters in (MasterKeys(secrets.token_bytes(32)), MasterKeys(secrets.token_bytes(32))):
        follower = KeyFollower(bus, masters)
        producer = bus.producer("test")
        keys = TopicKeys(
            follower, masters, lambda new, p=producer: [*map(p.send, new)], source="t", clock=SystemClock()
        )
        rings.append((follower, KeyRing(keys)))
    (_, mine), (follower, foreign) = rings
    envelope = mine.seal("o", "text", "here")
    for record in bus.read(KEYS.name):
        assert record is not None
        follower.note(record)
    assert foreign.open(envelope, "here") is UNREADABLE


def test_without_a_broker_texts_are_unreadable_and_nobody_takes_them_for_erased(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pawl_shared.sealed.key_topic.PATIENCE", 0.01)
    bus, keys = MemoryBus(), MemoryKeys()
    envelope = KeyRing(keys).seal("o", "text", "here")
    follower = KeyFollower(bus, MasterKeys(b"1" * 32))  # its topic is not there
    follower.start()
    opener = Opener(follower)
    with pytest.raises(KeysUnreadableError, match=KEYS.name):
        opener.load([envelope, "plain"])
    monkeypatch.setattr("pawl_shared.sealed.key_topic.PATIENCE", 1e6)  # nobody waits a second time
    assert opener.open(envelope, "here") is UNREADABLE
    assert opener.open("plain", "here") == "plain"
    bus.create_topics([KEYS])
    eventually(lambda: opener.open(envelope, "here") is ERASED)
    follower.stop()


def test_a_key_that_comes_back_after_its_tombstone_stays_erased_and_is_erased_again() -> None:
    bus, masters, revived = MemoryBus(), MasterKeys(secrets.token_bytes(32)), list[bytes]()
    bus.create_topics([KEYS])
    producer = bus.producer("test")
    follower = KeyFollower(bus, masters, revived=revived.append)
    sent: list[Message] = []
    ring = KeyRing(TopicKeys(follower, masters, sent.extend, source="t", clock=SystemClock()))
    envelope = ring.seal("o", "text", "here")
    for message in (sent[0], Message(KEYS.name, sent[0].key, None), sent[0]):
        producer.send(message)
    for record in bus.read(KEYS.name):
        assert record is not None
        follower.note(record)
    assert ring.open(envelope, "here") is ERASED
    assert revived == [sent[0].key]


def test_a_key_that_is_not_remembered_is_found_on_the_topic() -> None:
    bus, masters = MemoryBus(), MasterKeys(secrets.token_bytes(32))
    bus.create_topics([KEYS])
    follower = KeyFollower(bus, masters, passing=lambda owner: owner.startswith("once"))
    keys = TopicKeys(follower, masters, acknowledged(bus, "t"), source="t", clock=SystemClock())
    follower.start()
    envelopes = [KeyRing(keys).seal(owner, "text", "here") for owner in ("once 1", "often", "once 2")]
    eventually(lambda: keys.unread == 0)
    assert follower.remembered == 1
    assert [Opener(follower).open(envelope, "here") for envelope in envelopes] == ["text"] * 3
    follower.stop()


def test_keys_of_single_requests_are_told_by_their_owner() -> None:
    alone = INFERENCE.model_copy(update={"subject": None, "session": str(uuid7(INFERENCE.time, Random(1)))})
    chosen = alone.model_copy(update={"session": "support-4711"})
    assert [of_one_request(owner_of(event)) for event in (alone, chosen, INFERENCE)] == [True, False, False]


def test_records_that_are_no_keys_are_reported_and_change_nothing() -> None:
    bus, seen = MemoryBus(), list[str]()
    follower = KeyFollower(bus, MasterKeys(b"1" * 32), unreadable=lambda _, reason: seen.append(reason))
    time = INFERENCE.time
    follower.note(Record(KEYS.name, 0, 0, time, b"key", b"\xff", (("ce_type", b"\xfe"),)))
    follower.note(Record(KEYS.name, 0, 1, time, None, None))
    follower.note(Record(KEYS.name, 0, 2, time, b"\xff", None))
    assert len(seen) == 1


def test_the_master_key_is_made_once_for_this_user_alone(tmp_path: Path) -> None:
    settings = PawlSettings(data_dir=tmp_path)
    assert master_keys.of_settings(settings).newest == master_keys.of_settings(settings).newest
    assert ((tmp_path / "keys" / "master.keys").stat().st_mode & 0o777) == 0o600


def test_a_list_of_master_keys_has_the_newest_first(tmp_path: Path) -> None:
    path, new, old = tmp_path / "keys", secrets.token_hex(32), secrets.token_hex(32)
    path.write_text(f"# rotated in March\n{new}\n\n{old}\n")
    found = master_keys.of_settings(PawlSettings(data_dir=tmp_path, master_keys=path))
    assert found.newest == MasterKeys(bytes.fromhex(new)).newest
    wrapped = MasterKeys(bytes.fromhex(old)).wrap("n", b"s" * 32)
    assert found.unwrap("n", wrapped, MasterKeys(bytes.fromhex(old)).newest) == b"s" * 32


@pytest.mark.parametrize("content", [None, "", "# none\n", "zz", "00" * 31, "00" * 33])
def test_a_file_without_a_master_key_is_refused_with_advice(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigurationError, match=r"PAWL_MASTER_KEYS|openssl rand -hex 32"):
        master_keys.of_settings(PawlSettings(data_dir=tmp_path, master_keys=path))
