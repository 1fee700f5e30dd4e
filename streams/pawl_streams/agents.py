"""The Faust agent: thin. It reads, lets the pure fold decide, stores, publishes, and only then acknowledges.

In this order nothing is lost and nothing counts twice, whenever the process dies: what was not acknowledged is read
again, finds itself in the stored state, and is published again under the same id. Faust itself gives at least once,
and not even that for an agent that fails: it acknowledges what the agent was working on. So this one acknowledges
itself, and an error that is not the record's stops the process.

All that is there is handled as one batch, with one wait for the broker (a batch of one takes some 8 ms).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from pawl_shared import logging, metrics, topics
from pawl_shared.bus import Message, Record
from pawl_shared.errors import BusError
from pawl_shared.sealing import KeyRing as TextRing
from pawl_shared.tokens import KeyRing
from pawl_streams.fenced_table import EPOCH
from pawl_streams.fold import Fold
from pawl_streams.lateness import Watermark
from pawl_streams.metrics import DROPPED, STATES
from pawl_streams.records import SERVICE, Batch, record_of

MAX_BATCH = 500
KEY_RETRY_SECONDS = 1.0
log = logging.get(f"pawl.{SERVICE}")


def define_agents(app: Any, fold: Fold, tokens: KeyRing, texts: TextRing) -> None:
    """Attach the joins to a Faust app. `tokens` checks and marks feedback, `texts` opens and seals texts."""
    raw = {"key_serializer": "raw", "value_serializer": "raw", "key_type": bytes, "value_type": bytes}
    # One agent on both topics: partition n of each is then with one worker, beside partition n of the table.
    arrivals = app.topic(topics.INFERENCES.name, topics.FEEDBACK.name, **raw)
    published = (topics.INTERACTIONS, topics.FEEDBACK, topics.DEAD_LETTERS)
    outputs = {topic.name: app.topic(topic.name, **raw) for topic in published}
    table: Any = app.Table("answers", default=dict, partitions=topics.INTERACTIONS.partitions)
    watermarks: dict[int, Watermark] = defaultdict(Watermark)

    async def store(partition: int, key: str, state: dict[str, Any] | None) -> Any:
        """To the changelog; not by `table[key]`, which neither says when the broker has it nor in which partition."""
        if state is not None:
            state = {**state, EPOCH: table.epoch(partition)}
        sent = table.send_changelog(partition, key, state, value_serializer=None if state else "raw")
        if state is None:
            table.data.pop(key, None)
        else:
            table.data[key] = state
        return await sent

    async def publish(message: Message) -> Any:
        output = outputs[message.topic]
        return await (await output.send(key=message.key, value=message.value, headers=list(message.headers)))

    async def sweep(partition: int) -> None:
        now = watermarks[partition].now
        assert now is not None
        gone = [key for key, state in table.data.items() if fold.droppable(state, partition, now)]
        for start in range(0, len(gone), MAX_BATCH):
            await asyncio.gather(*(store(partition, key, None) for key in gone[start : start + MAX_BATCH]))
        DROPPED.inc(len(gone))
        STATES.set(len(table.data))

    def folded(records: Sequence[Record]) -> Batch:
        batch = Batch(fold, tokens, texts, table.data.get)
        for record in records:
            # What is no event moves no watermark: a broken record beside an old log would drop all of its states.
            if time := batch.add(record):
                watermarks[record.partition].reached(time, record.appended)
        return batch

    async def fold_all(records: Sequence[Record]) -> Batch:
        """In a thread, since a key may have to be waited for and a text may be long; without end for a key."""
        while True:
            try:
                return await asyncio.to_thread(folded, records)
            except BusError as error:
                log.warning("waiting for a key", reason=str(error))
                await asyncio.sleep(KEY_RETRY_SECONDS)

    async def handle(events: Sequence[Any]) -> None:
        batch = await fold_all([record_of(event.message) for event in events])
        partitions = {event.message.partition for event in events}
        mended = {key: table.data.get(key) for partition in partitions for key in table.overruled(partition)}
        states = {key: state for key, state in mended.items() if state} | batch.states
        await asyncio.gather(*(store(state["partition"], key, state) for key, state in states.items()))
        await asyncio.gather(*(publish(message) for message in batch.messages))
        for partition in partitions:
            if watermarks[partition].sweep_due():
                await sweep(partition)

    @app.agent(arrivals, name="feedback_join")  # type: ignore[untyped-decorator]
    async def feedback_join(stream: Any) -> None:
        waiting: list[Any] = []
        async for event in stream.noack().events():
            waiting.append(event)
            if len(waiting) < MAX_BATCH and not stream.channel.empty():
                continue
            # What is left of before a rebalance is read again by whoever has its partition now.
            events = [e for e in waiting if e.message.generation_id == app.consumer_generation_id]
            waiting = []
            try:
                with metrics.COMMIT_SECONDS.labels(SERVICE).time():
                    await handle(events)
            except Exception as error:
                log.exception("the joins stop; nothing of this batch was acknowledged")
                await app.crash(error)
                raise
            for done in events:
                await stream.ack(done)
