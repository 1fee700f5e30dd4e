"""Traffic as pawl.interactions carries it: sessions of two answers, each with a thumb, and now and then a correction.

Ids come from numbers, so that whoever checks afterwards knows every id that there must be.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain
from uuid import NAMESPACE_OID, UUID, uuid5

from pawl_shared import events as e
from pawl_shared.buses.port import Message, Producer
from pawl_shared.codec import encode
from pawl_shared.ids import derived_id

MODEL = "default/assistant"
VERSION = "b" * 64
# Of this day, since the monitor keeps things for so many days.
START = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
PER_SESSION = 4
ANSWER = "A pawl lets the wheel turn one way only, so what was gained is never lost again. " * 3
WORDS = len(ANSWER.split())  # inference counts them before it seals the answer
QUESTION = "What does a pawl do in a clock, and why does it click when I wind it up?"


def scored(number: int) -> e.InteractionScored:
    """The `number`-th event: answer, thumb, answer, thumb of one session, then of the next. 1,000 a second by their
    own time."""
    session, place = divmod(number, PER_SESSION)
    inference = uuid5(NAMESPACE_OID, f"benchmark/{session}/{place // 2}")
    time = START + timedelta(milliseconds=number)
    common = {"model": MODEL, "session": f"session-{session}", "inference_id": inference, "source": "benchmark"}
    if place % 2 == 0:
        logged = e.InferenceLogged(
            id=derived_id(inference, e.InferenceLogged.TYPE),
            time=time,
            subject=f"{session % 1000:032x}",
            messages=(e.Message(role="user", content=QUESTION),),
            answer=ANSWER,
            answer_words=WORDS,
            finish_reason="stop",
            arm="champion",
            version=VERSION,
            revision=1,
            prompt_tokens=24,
            answer_tokens=60,
            first_token_seconds=0.05,
            total_seconds=0.9,
            **common,
        )
        return e.InteractionScored(id=identity(number), time=time, revision=1, inference=logged, **common)
    liked = float((session + place) % 5 > 0)
    said = e.FeedbackReceived(
        id=derived_id(inference, e.FeedbackReceived.TYPE),
        time=time,
        subject=f"{session % 1000:032x}",
        kind="thumb",
        value=liked,
        **common,
    )
    return e.InteractionScored(
        id=identity(number), time=time, revision=2, feedback=said, reward=liked, rated=True, **common
    )


def identity(number: int) -> UUID:
    """The id of the `number`-th event."""
    return uuid5(NAMESPACE_OID, f"benchmark event {number}")


def messages(first: int, count: int, doubled: int = 0) -> Iterator[Message]:
    """`count` events; every `doubled`-th is followed by a copy of itself, as a restarted producer would send it."""
    for number in range(first, first + count):
        message = encode(scored(number))
        yield message
        if doubled and number % doubled == 0:
            yield message


def send(producer: Producer, first: int, count: int, doubled: int = 0) -> None:
    """Publish them and wait until the broker has all."""
    futures = [producer.send(message) for message in messages(first, count, doubled)]
    for future in futures:
        future.result(timeout=120)


def deployment() -> Message:
    """What makes the model known, so that time passes for it."""
    champion = e.DeployedVersion(version=VERSION, base=VERSION, graph=VERSION)
    event = e.DeploymentChanged(
        id=uuid5(NAMESPACE_OID, "benchmark deployment"),
        time=START,
        source="benchmark",
        model=MODEL,
        revision=1,
        champion=champion,
        change="registered",
    )
    return encode(event)


def chunks(count: int, size: int) -> Iterator[tuple[int, int]]:
    """(first, count) of each stretch."""
    return ((first, min(size, count - first)) for first in chain(range(0, count, size)))
