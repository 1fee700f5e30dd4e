"""Reading from Kafka: a feed of records over librdkafka's consumer, and the member of a group that is made of it.

librdkafka fetches and checks in threads of its own, outside Python's lock; what is left inside it is one conversion a
record (7 us with nine headers, beside 24 us of kafka-python).
"""

from __future__ import annotations

import operator
import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import confluent_kafka
from confluent_kafka import KafkaError, TopicPartition

from pawl_shared.buses.kafka_clients import SILENT, Lines, Settings, broker_asked, closed_in_time, ends, log, partitions
from pawl_shared.buses.port import Headers, OnAssigned, OnRevoked, Partition, Record
from pawl_shared.clock import utc_from_milliseconds
from pawl_shared.errors import BusError, FencedError

MAX_POLL_RECORDS = 5_000
# A join takes some 3 s, and 10 s more while the group waits for a member that was killed.
LONELY_SECONDS = 45.0
# A poll may wait for this as long as it waits for records; without an answer the next turn asks again.
ENDS_SECONDS = 1.0
READING: Settings = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "earliest",
    "isolation.level": "read_committed",
    "enable.partition.eof": True,
    "check.crcs": True,
    "fetch.wait.max.ms": 500,  # data ends the wait at once; without any, fewer wake-ups
    # What is fetched ahead of polls: by default 100,000 records, and a full second's pause once they are there.
    "queued.min.messages": 20_000,
    "fetch.queue.backoff.ms": 20,
}
# Time mends every other error that comes among the records, and librdkafka goes on by itself.
_REFUSED = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.UNSUPPORTED_VERSION,
}


class Feed:
    """Records of the partitions that it is told to read, and how far it has come in each."""

    def __init__(self, settings: Settings) -> None:
        self.consumer = confluent_kafka.Consumer(READING | settings, logger=Lines())
        self._name = str(settings.get("client.id", "reader"))
        # Where each partition begins for us, or where it was seen to end.
        self._known: dict[Partition, int] = {}
        self._starts: dict[Partition, int | None] = {}
        # One string for all records of a topic, instead of one each. Not by sys.intern: a string that nobody keeps is
        # interned anew with every record, and the interpreter's table of 40,000 doubled by that in 12 minutes (1 MB).
        self._names: dict[str, str] = {}
        # Of the last record that was delivered: the offset behind it and the epoch of the leader that wrote it; and the
        # latest time of any before it, as a broker's clock may be set back.
        self._after: dict[tuple[str, int], tuple[int, int | None, int]] = {}
        self._moved = False
        # Those of which librdkafka's own position may be of the time before, until one of their records is delivered
        # or their end is signalled. The end alone is not enough: where records come all the time, it never is.
        self._uncounted: set[Partition] = set()

    @property
    def assigned(self) -> Collection[Partition]:
        """What is read."""
        return self._known.keys()

    def start(self, starts: Mapping[Partition, int | None]) -> None:
        """Read these, and nothing else, from their offsets or (None) from their beginnings."""
        self._starts, self._known = dict(starts), {part: offset or 0 for part, offset in starts.items()}
        self._names = {part.topic: part.topic for part in starts}
        self._after = {}
        self._moved, self._uncounted = True, set()
        beginning = confluent_kafka.OFFSET_BEGINNING
        places = [TopicPartition(*part, beginning if offset is None else offset) for part, offset in starts.items()]
        self.consumer.assign(places)
        self.consumer.resume(places)  # a pause outlives the assignment for which it was made

    def stop(self) -> None:
        """Read nothing."""
        self._starts, self._known, self._moved = {}, {}, True
        self.consumer.unassign()

    def poll(self, timeout: float) -> list[Record]:
        """What is there; else waits for something, which may be the end of a partition instead of a record."""
        self._moved = False
        with broker_asked("the broker refused to deliver"):
            messages = self.consumer.consume(MAX_POLL_RECORDS, 0)
            if not messages and (first := self.consumer.poll(timeout)) is not None:
                messages = [first, *self.consumer.consume(MAX_POLL_RECORDS - 1, 0)]
        if self._moved and messages:
            # Other partitions were given to us in the middle of this. Nobody can tell which of these came before it,
            # so all are read again; librdkafka's own position may be of the time before.
            for message in messages:
                if (error := message.error()) is not None and error.code() == KafkaError._FATAL:
                    self._note(message)
            if self._starts:
                self.start(self._starts)
                self._uncounted = set(self._known)
            return []
        return self._records(messages)

    def positions(self) -> dict[Partition, int]:
        """Everything before these offsets has been delivered, or is no record (markers, aborted transactions).

        librdkafka's position moves over markers as well; where a partition ends in something else it is the end that
        was signalled, which comes up to half a second later.
        """
        counted = [TopicPartition(*part) for part in self._known if part not in self._uncounted]
        found = {Partition(at.topic, at.partition): at.offset for at in self.consumer.position(counted)}
        return {part: max(found.get(part, known), known) for part, known in self._known.items()}

    def close(self) -> None:
        """Disconnect, in a bounded time also when the broker is away."""
        closed_in_time(self.consumer.close, self._name)

    def _records(self, messages: Iterable[Any]) -> list[Record]:
        records: list[Record] = []
        stamp, at = 0, utc_from_milliseconds(0)
        for message in messages:
            if message.error() is not None:
                self._note(message)
                continue
            if self._repeats(message):
                continue
            if (milliseconds := message.timestamp()[1]) != stamp:  # a batch has one
                stamp, at = milliseconds, utc_from_milliseconds(milliseconds)
            records.append(
                Record(
                    self._names.get(topic := message.topic(), topic),
                    message.partition(),
                    message.offset(),
                    at,
                    message.key(),
                    message.value(),
                    _headers(message),
                )
            )
        if self._uncounted:
            self._uncounted -= {Partition(record.topic, record.partition) for record in records}
        return records

    def _repeats(self, message: Any) -> bool:
        """Whether it was delivered before: when a partition's leader changes just after a start, librdkafka may begin
        there again (2.16.0; 4 of 1,750 reads on a broker that was starved of CPU). What a newer leader has written
        over the end of its log is no repeat, nor is what stands in a topic that was deleted and made anew. (Positions
        do not go back for that one: its readers have to be started again.)
        """
        part, offset, epoch = (message.topic(), message.partition()), message.offset(), message.leader_epoch()
        after, written, at = self._after.get(part, (0, None, 0))
        stamp = message.timestamp()[1]
        if offset < after and stamp <= at and (epoch is None or written is None or epoch <= written):
            return True
        self._after[part] = offset + 1, epoch, max(stamp, at)
        return False

    def _note(self, message: Any) -> None:
        error = message.error()
        if error.code() == KafkaError._PARTITION_EOF:
            part = Partition(message.topic(), message.partition())
            if part in self._known:
                self._known[part] = max(self._known[part], message.offset())
                self._uncounted.discard(part)
        elif error.code() == KafkaError._FATAL:
            # Its cause stands in the text only. A group knows one such end: another member has taken this one's name.
            kind = FencedError if "fenced" in error.str() else BusError
            raise kind(f"this reader has ended: {error.str()}")
        elif error.code() in _REFUSED:
            raise BusError(f"the broker refused to deliver: {error.str()}")
        else:
            log.warning("%s: reading is disturbed, and goes on: %s", self._name, error.str())


# Where the client cannot make a string of a header's name it answers with its error still set. A plain call, once the
# interpreter has specialised it, does not look for that; this one always does, and raises SystemError.
_headers_of = operator.methodcaller("headers")


def _headers(message: Any) -> Headers:
    try:
        return tuple(_headers_of(message) or ())
    except SystemError:  # no event of ours has such a name, and without any headers the record becomes a dead letter
        log.warning("%s/%d/%d: headers that are not UTF-8", message.topic(), message.partition(), message.offset())
        return ()


class KafkaConsumer:
    """A member of a group that keeps its partitions across restarts, as long as they take less than the session."""

    def __init__(
        self,
        settings: Settings,
        group: str,
        instance: str,
        topics: Collection[str],
        on_assigned: OnAssigned,
        on_revoked: OnRevoked,
    ) -> None:
        self._on_assigned, self._on_revoked = on_assigned, on_revoked
        name = f"{group}-{instance}"
        settings = settings | {"group.id": group, "client.id": name}
        self._name = name
        self._settings, self._topics = settings, list(topics)
        self._rejoined_at = -LONELY_SECONDS
        self._feed = self._member()
        # Asked for ends only: those that committed readers see leave out what open transactions have written already.
        uncommitted = {"isolation.level": "read_uncommitted"}
        self._uncommitted = confluent_kafka.Consumer(READING | settings | SILENT | uncommitted)
        self._held: frozenset[Partition] = frozenset()
        self._lonely_since: float | None = None
        partitions(self._feed.consumer, self._topics)
        self._join()

    def _member(self) -> Feed:
        sessions = {"session.timeout.ms": 10_000, "heartbeat.interval.ms": 3_000}
        return Feed(sessions | self._settings | {"group.instance.id": self._name})

    def _join(self) -> None:
        self._feed.consumer.subscribe(
            self._topics, on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked
        )

    def _assigned(self, _: Any, assigned: Collection[TopicPartition]) -> None:
        parts = [Partition(part.topic, part.partition) for part in assigned]
        starts = self._on_assigned(parts)
        self._held = frozenset()
        self._feed.start({part: starts.get(part) for part in parts})

    def _revoked(self, _: Any, revoked: Collection[TopicPartition]) -> None:
        self._feed.stop()
        self._held = frozenset()
        self._on_revoked([Partition(part.topic, part.partition) for part in revoked])

    def poll(self, timeout: float) -> list[Record]:
        try:
            records = self._feed.poll(timeout)
        except FencedError:
            if self._feed.assigned or time.monotonic() - self._rejoined_at < LONELY_SECONDS:
                raise
            self._rejoin()
            records = []
        self._watch_assignment()
        return records

    def _rejoin(self) -> None:
        """After a broker was away for longer than the session, a late heartbeat may be taken for that of a member whose
        name was taken, by this member itself (librdkafka 2.16.0). It held nothing any more, so it joins as a new one.
        """
        log.warning("%s was fenced while it was no member: joining again", self._name)
        self._rejoined_at = time.monotonic()
        self._feed.close()
        self._feed = self._member()
        self._join()

    def _watch_assignment(self) -> None:
        if self._feed.assigned:
            self._lonely_since = None
            return
        self._lonely_since = self._lonely_since or time.monotonic()
        if time.monotonic() - self._lonely_since > LONELY_SECONDS:
            raise BusError(f"the group has given this member no partitions for {LONELY_SECONDS:.0f} s")

    def hold(self, held: Collection[Partition]) -> None:
        wanted = frozenset(held) & frozenset(self._feed.assigned)
        with broker_asked("partitions cannot be held"):
            # What was fetched ahead of a pause is thrown away, and fetched again after it.
            if paused := wanted - self._held:
                self._feed.consumer.pause([TopicPartition(*part) for part in paused])
            if resumed := self._held - wanted:
                self._feed.consumer.resume([TopicPartition(*part) for part in resumed])
        self._held = wanted

    def ends(self) -> dict[Partition, int]:
        if not self._feed.assigned:
            return {}
        self._uncommitted.consume(100, 0)  # what it has to say of broken connections would pile up
        return ends(self._uncommitted, self._feed.assigned, ENDS_SECONDS)

    def reached(self, goals: Mapping[Partition, int]) -> list[Partition]:
        return [part for part, at in self._feed.positions().items() if part in goals and at >= goals[part]]

    def lag(self) -> int:
        behind = 0
        for part, at in self._feed.positions().items():
            _, high = self._feed.consumer.get_watermark_offsets(TopicPartition(*part), cached=True)
            behind += max(0, high - at)
        return behind

    def close(self) -> None:
        closed_in_time(self._uncommitted.close, "ends")
        self._feed.close()
