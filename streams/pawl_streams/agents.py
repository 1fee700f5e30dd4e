"""The Faust agent: thin. It reads, lets the pure fold decide, stores, publishes, and only then acknowledges.

In this order nothing is lost and nothing counts twice, whenever the process dies: what was not acknowledged is read
again, finds itself in the stored state, and is published again under the same id. Faust itself gives at least once,
and not even that for an agent that fails: it acknowledges what the agent was working on. So this one acknowledges
itself, and an error that is not the record's stops the process. Who hears of a rebalance amid a batch gives it up:
what it still wrote would not be restored by the new owner, and what it acknowledged nobody would read again.

All that is there is handled as one batch, with one wait for the broker (a batch of one takes some 8 ms).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from pawl_shared import logging, metrics, topics
from pawl_shared.access.tokens import KeyRing
from pawl_shared.buses.port import Message, Record
from pawl_shared.errors import BusError
from pawl_shared.sealed.text import KeyRing as TextRing
from pawl_streams.fenced_table import MAX_BATCH
from pawl_streams.fold import JoinFold
from pawl_streams.lateness import Watermark
from pawl_streams.metrics import DROPPED, STATES
from pawl_streams.ownership import EPOCH
from pawl_streams.records import Batch, record_of
from pawl_streams.settings import SERVICE

KEY_RETRY_SECONDS = 1.0
log = logging.get(f"pawl.{SERVICE}")


class RebalancedError(Exception):
    """The partitions of a batch may have another owner by now, who reads it again."""


def define_agents(app: Any, fold: JoinFold, tokens: KeyRing, texts: TextRing) -> None:
    """Attach the joins to a Faust app. `tokens` checks and marks feedback, `texts` opens and seals texts."""
    joins = Joins(app, fold, tokens, texts)

    @app.agent(joins.arrivals, name="feedback_join")  # type: ignore[untyped-decorator]
    async def feedback_join(stream: Any) -> None:
        await joins.work(stream)


class Joins:
    """What one worker does with the partitions that it has."""

    def __init__(self, app: Any, fold: JoinFold, tokens: KeyRing, texts: TextRing) -> None:
        self._app, self._fold, self._tokens, self._texts = app, fold, tokens, texts
        raw = {"key_serializer": "raw", "value_serializer": "raw", "key_type": bytes, "value_type": bytes}
        # One agent on both topics: partition n of each is then with one worker, beside partition n of the table.
        self.arrivals = app.topic(topics.INFERENCES.name, topics.FEEDBACK.name, **raw)
        published = (topics.INTERACTIONS, topics.FEEDBACK, topics.DEAD_LETTERS)
        self._outputs = {topic.name: app.topic(topic.name, **raw) for topic in published}
        self._table: Any = app.Table("answers", default=dict, partitions=topics.INTERACTIONS.partitions)
        self._watermarks: dict[int, Watermark] = defaultdict(Watermark)

    async def work(self, stream: Any) -> None:
        """Handle what comes, for as long as the worker lives."""
        waiting: list[Any] = []
        async for event in stream.noack().events():
            waiting.append(event)
            # A rebalance may empty the queue now, and wait for what is gathered here until more comes: for ever.
            self._app.consumer.give_up([event.message])
            if len(waiting) < MAX_BATCH and not stream.channel.empty():
                continue
            # What is left of before a rebalance is read again by whoever has its partition now.
            generation = self._app.consumer_generation_id
            events = [each for each in waiting if each.message.generation_id == generation]
            waiting = []
            self._app.consumer.wait_for(event.message for event in events)
            try:
                with metrics.COMMIT_SECONDS.labels(SERVICE).time():
                    await self._handle(events, generation)
                for done in events:
                    self._check(generation)
                    await stream.ack(done)
            except RebalancedError:
                log.info("a batch was given up amid a rebalance, and will be read again", records=len(events))
            except Exception as error:
                log.exception("the joins stop; nothing of this batch was acknowledged")
                await self._app.crash(error)
                raise
            finally:
                self._app.consumer.give_up(event.message for event in events)

    def _check(self, generation: int) -> None:
        if self._app.consumer_generation_id != generation:
            raise RebalancedError

    async def _handle(self, events: Sequence[Any], generation: int) -> None:
        batch = await self._fold_all([record_of(event.message) for event in events], generation)
        self._check(generation)
        table, partitions = self._table, {event.message.partition for event in events}
        mended = {key: table.data.get(key) for partition in partitions for key in table.owned.overruled(partition)}
        states = {key: state for key, state in mended.items() if state} | batch.states
        writes = (self._store(state["partition"], key, state, generation) for key, state in states.items())
        await asyncio.gather(*writes)
        self._check(generation)
        await asyncio.gather(*(self._publish(message) for message in batch.messages))
        for partition in partitions:
            if self._watermarks[partition].sweep_due():
                await self._sweep(partition, generation)

    async def _fold_all(self, records: Sequence[Record], generation: int) -> Batch:
        """In a thread, since a key may have to be waited for and a text may be long; without end for a key."""
        while True:
            try:
                return await asyncio.to_thread(self._folded, records, generation)
            except BusError as error:
                self._check(generation)
                log.warning("waiting for a key", reason=str(error))
                await asyncio.sleep(KEY_RETRY_SECONDS)

    def _folded(self, records: Sequence[Record], generation: int) -> Batch:
        batch = Batch(self._fold, self._tokens, self._texts, self._table.data.get)
        for record in records:
            # What is no event moves no watermark: a broken record beside an old log would drop all of its states.
            taken = self._table.owned.taken(record, generation, self._table.data.get)
            if time := batch.add(record, taken):
                self._watermarks[record.partition].reached(time, record.appended)
        return batch

    async def _store(self, partition: int, key: str, state: dict[str, Any] | None, generation: int) -> Any:
        """To the changelog; not by `table[key]`, which neither says when the broker has it nor in which partition."""
        table = self._table
        if state is not None:
            state = {**state, EPOCH: table.owned.epoch(partition, generation)}
        sent = table.send_changelog(partition, key, state, value_serializer=None if state else "raw")
        if state is None:
            table.data.pop(key, None)
        else:
            table.data[key] = state
        return await sent

    async def _publish(self, message: Message) -> Any:
        output = self._outputs[message.topic]
        return await (await output.send(key=message.key, value=message.value, headers=list(message.headers)))

    async def _sweep(self, partition: int, generation: int) -> None:
        """Drop the states whose time is over."""
        now, data = self._watermarks[partition].now, self._table.data
        assert now is not None, "it is due because time has passed"
        gone = [key for key, state in data.items() if self._fold.droppable(state, partition, now)]
        for start in range(0, len(gone), MAX_BATCH):
            self._check(generation)
            some = gone[start : start + MAX_BATCH]
            await asyncio.gather(*(self._store(partition, key, None, generation) for key in some))
        DROPPED.inc(len(gone))
        STATES.set(len(data))
