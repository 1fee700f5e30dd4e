"""The lists of nasty records and requests, sent to a Pawl that runs, by clients that are not ours."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
from aiokafka import AIOKafkaProducer
from support.nasty_http import Client
from support.nasty_records import CASES, DEAD, MONITOR, STREAMS, TRAINER, Case, sample
from typer.testing import CliRunner

from pawl_cli.__main__ import app
from pawl_cli.running.note import read_note
from pawl_cli.running.stack import Stack
from pawl_shared import events as e
from pawl_shared.buses.port import Message
from pawl_shared.codec import decode
from pawl_shared.topics import MAX_RECORD_BYTES

# What validator and inference handle would change what this Pawl serves.
HANDLED_BY = (MONITOR, STREAMS, TRAINER)
NOW = datetime.now(UTC)
Place = tuple[str, int, int]  # topic, partition, offset


@dataclass(frozen=True)
class Sending:
    """A case on its way to one consumer: its records, and the answers that are known when they are handled."""

    case: Case
    consumer: str
    messages: Sequence[Message]

    @property
    def dead(self) -> bool:
        return self.case.outcome == DEAD

    @property
    def answers(self) -> set[UUID]:
        events = [] if self.dead else [decode(message) for message in self.messages]
        return {x.inference_id for x in events if isinstance(x, e.InteractionScored | e.InferenceLogged)}


def sendings() -> list[Sending]:
    """All that may be sent to a Pawl that goes on serving what it serves."""
    found = []
    for number, case in enumerate(CASES):
        for consumer in case.consumers:
            if case.outcome == DEAD or consumer in HANDLED_BY:
                # The lists' own time lies so far back that its rows and ids are deleted: a copy would count again.
                event = sample(consumer, 20_000 + number, NOW)
                found.append(Sending(case, consumer, list(case.make(event))))
    return found


def send(stack: Stack, messages: Sequence[Message]) -> list[Place]:
    """By another Kafka client; answers where the records came to lie."""

    note = read_note(stack.options.data)
    assert note is not None

    async def sent() -> list[Place]:
        producer = AIOKafkaProducer(bootstrap_servers=note.kafka, max_request_size=MAX_RECORD_BYTES)
        await producer.start()
        try:
            futures = [await producer.send(m.topic, m.value, m.key, headers=list(m.headers)) for m in messages]
            return [(found.topic, found.partition, found.offset) for found in [await each for each in futures]]
        finally:
            await producer.stop()

    return asyncio.run(sent())


class BriefClient(Client):
    """Over a real connection; answers are cut short where a case does not say how long they may be."""

    def __init__(self, http: httpx.Client) -> None:
        super().__init__(http)  # type: ignore[arg-type]

    def chat(self, **fields: Any) -> Any:
        return super().chat(**({"max_tokens": 2} | fields))


def dead_letters(stack: Stack, *words: str) -> dict[str, Any]:
    """What `pawl dead-letters …` answers."""
    done = CliRunner().invoke(app, ["dead-letters", *words, "--data", str(stack.options.data), "--json"])
    assert done.exit_code == 0, done.output
    return dict(json.loads(done.stdout))


def letters(stack: Stack) -> dict[tuple[str, Place], dict[str, Any]]:
    """All of them, by service and by the place of their record."""
    listed = dead_letters(stack, "list", "--limit", "100000")["letters"]
    return {(x["service"], (x["topic"], x["partition"], x["offset"])): x for x in listed}
