"""A batch of records: what is wrong with one harms no other."""

import json
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any

from support.samples import FEEDBACK, INFERENCE, WHEN, uid

from pawl_shared.access.tokens import Grant, KeyRing, is_marked, mark, sign
from pawl_shared.buses.port import Message, Record
from pawl_shared.codec import decode, encode
from pawl_shared.events import DeadLetter, FeedbackReceived, InferenceLogged, InteractionScored
from pawl_shared.ids import uuid7
from pawl_shared.sealed.events import opened, sealed
from pawl_shared.sealed.text import KeyRing as TextRing
from pawl_shared.sealed.text import MemoryKeys, is_sealed
from pawl_streams.fold import JoinFold
from pawl_streams.ownership import AT, Ownership, place_key
from pawl_streams.records import Batch

TEXTS = TextRing(MemoryKeys())
RING = KeyRing.of(b"k" * 32)


def record(message: Message, offset: int = 0) -> Record:
    return Record(message.topic, 3, offset, WHEN, message.key, message.value, message.headers)


# As the sample's own id is of a time long before the sample's.
ANSWER = uuid7(WHEN, Random(1))
ANSWERED = INFERENCE.model_copy(update={"inference_id": ANSWER})
THUMB = FEEDBACK.model_copy(update={"inference_id": ANSWER, "kind": "thumb", "value": 1.0, "text": None})


def run(*records: Record, stored: dict[str, Any] | None = None) -> tuple[Batch, list[Any]]:
    batch = Batch(JoinFold("streams", lambda _: None), RING, TEXTS, (stored or {}).get)
    for one in records:
        batch.add(one)
    return batch, [decode(record(message)) for message in batch.messages]


def test_states_of_a_batch_build_on_each_other_and_on_what_is_stored() -> None:
    first, _ = run(record(encode(ANSWERED)))
    second, events = run(record(mark(RING, encode(THUMB))), stored=first.states)
    together, _ = run(record(encode(ANSWERED)), record(mark(RING, encode(THUMB))))
    key = f"{ANSWER}/0"
    assert second.states[key] == together.states[key]
    assert second.states[key]["partition"] == 3
    (revision,) = events
    assert isinstance(revision, InteractionScored)
    assert (revision.reward, revision.joined, revision.revision) == (1.0, True, 2)


def test_who_takes_a_partition_over_tells_again_where_answers_stand() -> None:
    """Its predecessor had published the answer without its states lasting, and here two thumbs come before it."""
    lost, told = run(record(encode(ANSWERED)))
    later = THUMB.model_copy(update={"id": uid(77), "value": 0.0, "time": THUMB.time + timedelta(seconds=1)})
    arrivals = [mark(RING, encode(THUMB)), mark(RING, encode(later)), encode(ANSWERED)]

    def standing(taken: list[int]) -> InteractionScored:
        batch = Batch(JoinFold("streams", lambda _: None), RING, TEXTS, dict[str, Any]().get)
        for one in arrivals:
            batch.add(record(one), taken)
        first = {event.id: event for event in reversed([*told, *(decode(record(m)) for m in batch.messages)])}
        revisions = [event for event in first.values() if isinstance(event, InteractionScored)]
        return max(revisions, key=lambda revision: revision.revision)

    assert not standing([]).joined  # the answer's own revision is dropped as a repeat of the lost one
    last = standing([2, 7])
    assert (last.joined, last.reward, last.revision) == (True, 0.0, 2 * 1024 + 3)
    assert (last.inference, last.feedback) == (None, None)
    assert lost.states


def test_unmarked_feedback_with_a_token_comes_back_marked_and_without_one_is_a_dead_letter() -> None:
    plain = encode(FEEDBACK)
    grant = Grant(FEEDBACK.inference_id, 0, FEEDBACK.model, FEEDBACK.session, None, WHEN.replace(year=2027))
    token = ("ce_feedbacktoken", sign(RING, grant).encode())
    batch, events = run(record(plain), record(replace(plain, headers=(*plain.headers, token)), 1))
    refused, accepted = events
    assert isinstance(refused, DeadLetter)
    assert "no ce_feedbacktoken" in refused.reason
    assert isinstance(accepted, FeedbackReceived)
    assert is_marked(RING, record(batch.messages[1]))
    assert set(batch.states) == {place_key(3)}, "of no answer"


def test_a_new_owner_counts_from_the_last_record_whatever_it_was() -> None:
    """Else records behind a batch of refused ones would not be told again, which a hung worker may hold."""
    broken = replace(encode(ANSWERED), value=b"-")
    batch, _ = run(record(encode(ANSWERED), 4), *(record(broken, offset) for offset in range(5, 30)))
    assert batch.states[place_key(3)][AT] == {broken.topic: 29}
    owned = Ownership(batch=10)
    told = [offset for offset in range(5, 60) if owned.taken(record(broken, offset), 2, batch.states.get)]
    assert told == list(range(5, 40)), "all that the one before may have had in its hands"


def test_what_cannot_be_read_or_folded_is_a_dead_letter() -> None:
    def fail(_: str) -> str | None:
        raise ValueError("no model")

    good, bad = encode(INFERENCE), replace(encode(INFERENCE), value=json.dumps({"choice": 1}).encode())
    _, (refused, joined) = run(record(bad), record(good))
    assert isinstance(refused, DeadLetter)
    assert isinstance(joined, InteractionScored)
    batch = Batch(JoinFold("streams", fail), RING, TEXTS, dict[str, Any]().get)
    assert batch.add(record(good)) is None
    letter = decode(record(batch.messages[0]))
    assert isinstance(letter, DeadLetter)
    assert "a bug in streams: ValueError: no model" in letter.reason


def test_events_keep_their_trace() -> None:
    message = encode(InferenceLogged.model_validate(INFERENCE.model_dump()))
    batch, _ = run(record(message))
    trace = dict(message.headers)["traceparent"].split(b"-")[1]
    assert dict(batch.messages[0].headers)["traceparent"].split(b"-")[1] == trace


def test_texts_are_opened_scrubbed_and_sealed_again() -> None:
    asked = ANSWERED.model_copy(update={"answer": "Ask ada@example.org"})
    _, (revision,) = run(record(encode(sealed(asked, TEXTS))))
    assert isinstance(revision, InteractionScored)
    assert revision.inference is not None
    assert is_sealed(revision.inference.answer)
    assert opened(revision.inference, TEXTS).answer == "Ask <email>"
    assert revision.scrubbed == {"email": 1}
    correction = THUMB.model_copy(update={"kind": "correction", "value": None, "text": "Call +1 415 555 2671"})
    _, (revision,) = run(record(mark(RING, encode(correction))))
    assert revision.feedback is not None
    assert is_sealed(revision.feedback.text)
    assert opened(revision.feedback, TEXTS).text == "Call <phone>"
