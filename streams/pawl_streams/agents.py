"""Faust agents: thin. They read, let the pure fold decide, keep the table's change at the broker, and then publish.

In this order a crash can repeat a revision (its id is derived from its cause, so whoever reads it has seen it), but
never lose one: Faust gives at least once (measured after kill -9: at_least_once counted 112 for 80 without such folds,
and exactly_once 72 for 80). Published first, a revision could be one that the table never heard of; the events would
then be joined again in another order, and a later revision could say less than the one that readers have.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from pawl_shared import logging, metrics, topics
from pawl_shared.bus import Record
from pawl_shared.codec import decode, encode, header
from pawl_shared.dead_letter import dead_letter
from pawl_shared.errors import BusError, DecodeError
from pawl_shared.events import Event, FeedbackReceived, InferenceLogged
from pawl_shared.sealed_events import opened, resealed
from pawl_shared.sealing import KeyRing
from pawl_streams.feedback_join import Answer, answer_key, join
from pawl_streams.metrics import JOINS
from pawl_streams.scoring import RewardPolicy

SERVICE = "streams"
KEY_RETRY_SECONDS = 1.0


def define_agents(app: Any, policy: RewardPolicy, source: str, ring: KeyRing) -> None:
    """Attach the joins to a Faust app. `ring` seals feedback that did not come through the edge."""
    raw = {"key_serializer": "raw", "value_serializer": "raw", "key_type": bytes, "value_type": bytes}
    # One agent on both topics: partition n of each is then with one worker, beside partition n of the table.
    arrivals = app.topic(topics.INFERENCES.name, topics.FEEDBACK.name, **raw)
    outputs = {t.name: app.topic(t.name, **raw) for t in (topics.INTERACTIONS, topics.DEAD_LETTERS)}
    answers = app.Table("answers", default=dict, partitions=topics.INTERACTIONS.partitions)
    log = logging.get(f"pawl.{SERVICE}")

    async def publish(event: Event, trace: str | None) -> None:
        message = encode(event, trace)
        output = outputs[message.topic]
        sent = await output.send(key=message.key, value=message.value, headers=list(message.headers))
        await sent

    async def keep(key: str, answer: Answer) -> None:
        """As answers[key] = ..., which however does not say when the broker has it."""
        value = answer.model_dump(mode="json")
        kept = answers.send_changelog(answers.partition_for_key(key), key, value)
        answers.data[key] = value
        await kept

    @app.agent(arrivals, name="feedback_join")  # type: ignore[untyped-decorator]
    async def feedback_join(stream: Any) -> None:
        async for event in stream.events():
            record = record_of(event.message)
            try:
                arrival = decode(record)
                trace = header(record.headers, "traceparent")
                if not isinstance(arrival, InferenceLogged | FeedbackReceived):
                    raise DecodeError(f"{arrival.TYPE} does not belong on {record.topic}")
            except DecodeError as error:
                log.warning("dead letter", topic=record.topic, offset=record.offset, reason=str(error))
                metrics.DEAD_LETTERS.labels(SERVICE, record.topic).inc()
                await publish(dead_letter(record, SERVICE, source, str(error)), None)
                continue
            key = answer_key(arrival)
            arrival = await sealed_again(arrival, ring)
            known = Answer.model_validate(answers[key])
            answer, revision = join(known, arrival, policy, source)
            if answer != known:
                await keep(key, answer)
                JOINS.labels(str(revision.joined).lower()).inc()
            await publish(revision, trace)
            outcome = "duplicate" if answer == known else "handled"
            metrics.RECORDS.labels(SERVICE, record.topic, outcome).inc()


async def sealed_again(
    arrival: InferenceLogged | FeedbackReceived, ring: KeyRing
) -> InferenceLogged | FeedbackReceived:
    """The event with every text sealed. Nowhere else in this service is text open.

    In a thread, since a key may have to be waited for; without end, since an exception here would lose the record.
    """
    while True:
        try:
            return await asyncio.to_thread(lambda: resealed(arrival, opened(arrival, ring), ring))
        except BusError as error:
            logging.get(f"pawl.{SERVICE}").warning("waiting for a key", reason=str(error))
            await asyncio.sleep(KEY_RETRY_SECONDS)


def record_of(message: Any) -> Record:
    """A Faust message as a record of the bus."""
    headers = message.headers.items() if isinstance(message.headers, dict) else message.headers or ()
    return Record(
        message.topic,
        message.partition,
        message.offset,
        datetime.fromtimestamp(message.timestamp, UTC),
        message.key,
        message.value,
        tuple((str(name), content) for name, content in headers),
    )
