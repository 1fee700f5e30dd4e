"""The bus on Apache Kafka, by kafka-python (with crc32c: 24-33k polls/s; without it 4-5k).

Static membership keeps a restarted consumer's partitions: 0.5 s from SIGKILL to its first message instead of 6-8 s.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from kafka import ConsumerRebalanceListener, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient
from kafka.errors import (
    InvalidProducerEpochError,
    KafkaError,
    ProducerFencedError,
    TopicAlreadyExistsError,
)
from kafka.structs import OffsetAndMetadata

from pawl_shared.bus import Bus, Message, OnAssigned, OnRevoked, Partition, Record
from pawl_shared.codec import utc_from_milliseconds
from pawl_shared.errors import BusError, FencedError
from pawl_shared.topics import MAX_RECORD_BYTES, Topic

# kafka-python has no limit on its send buffer; beyond this many unacknowledged sends callers wait.
MAX_OUTSTANDING = 10_000
MAX_POLL_RECORDS = 5_000
# A join takes some 3 s, and 10 s more while the group waits for a member that was killed.
LONELY_SECONDS = 45.0
# A poll may wait for this as long as it waits for records; without an answer the next turn asks again.
ENDS_TIMEOUT_MS = 1_000


class KafkaBus(Bus):
    """Connections to one cluster. `options` go to every client (SASL, TLS)."""

    def __init__(self, bootstrap_servers: str, options: Mapping[str, Any] | None = None) -> None:
        self._options = {
            "bootstrap_servers": bootstrap_servers.split(","),
            "reconnect_backoff_max_ms": 1_000,
            **(options or {}),
        }

    def create_topics(self, topics: Sequence[Topic]) -> list[str]:
        with contextlib.closing(self._connect(lambda: KafkaAdminClient(**self._options))) as admin:
            existing = set(admin.list_topics())
            new = [topic for topic in topics if topic.name not in existing]
            for topic in new:
                wanted = {"num_partitions": topic.partitions, "replication_factor": -1, "configs": topic.config}
                # another service may have created it since the listing
                with contextlib.suppress(TopicAlreadyExistsError):
                    admin.create_topics({topic.name: wanted})
            if new:
                admin.wait_for_topics([topic.name for topic in new])
            return [topic.name for topic in new]

    def producer(self, name: str) -> _KafkaProducer:
        options = {**self._options, "client_id": name, "acks": "all", "enable_idempotence": True, "linger_ms": 5}
        return _KafkaProducer(self._connect(lambda: KafkaProducer(max_request_size=MAX_RECORD_BYTES, **options)))

    def transactions(self, transactional_id: str) -> _KafkaTransactions:
        options = {**self._options, "transactional_id": transactional_id, "transaction_timeout_ms": 15_000}
        producer = self._connect(lambda: KafkaProducer(max_request_size=MAX_RECORD_BYTES, **options))
        producer.init_transactions()
        return _KafkaTransactions(producer, transactional_id)

    def consumer(
        self, group: str, instance: str, topics: Sequence[str], on_assigned: OnAssigned, on_revoked: OnRevoked
    ) -> _KafkaConsumer:
        consumer = self._consumer(
            group_id=group,
            group_instance_id=f"{group}-{instance}",
            max_poll_records=MAX_POLL_RECORDS,
            session_timeout_ms=10_000,
            heartbeat_interval_ms=3_000,
        )
        # Know the topics before joining: kafka-python 3.0.12, as the group's leader, otherwise assigns nothing and may
        # stay in that rebalance for ever, without heartbeats and at full CPU.
        _partitions(consumer, topics)
        consumer.subscribe(list(topics), listener=_Listener(consumer, on_assigned, on_revoked))
        return _KafkaConsumer(consumer, self._consumer(group_id=None, isolation_level="read_uncommitted"))

    def read(self, topic: str, stop: Callable[[], bool] | None = None, timeout: float = 0.2) -> Iterator[Record | None]:
        with _broker_asked(), contextlib.closing(self._consumer(group_id=None)) as consumer:
            parts = _partitions(consumer, [topic])
            consumer.assign(parts)
            consumer.seek_to_beginning(*parts)
            ends = consumer.end_offsets(parts)
            while True:
                batch = consumer.poll(timeout_ms=int(timeout * 1000), max_records=MAX_POLL_RECORDS)
                for records in batch.values():
                    yield from (_record(record) for record in records)
                # transaction markers take offsets too, so the position, not the last record, says where we stand
                if all(consumer.position(part) >= ends[part] for part in parts):
                    if stop is None:
                        return
                    yield None
                    ends = consumer.end_offsets(parts)
                if stop is not None and stop():
                    return

    def committed(self, group: str, topics: Sequence[str]) -> dict[Partition, int]:
        with _broker_asked(), contextlib.closing(self._consumer(group_id=group)) as consumer:
            parts = _partitions(consumer, topics)
            found = {part: consumer.committed(part) for part in parts}
            return {Partition(*part): offset for part, offset in found.items() if offset is not None}

    def close(self) -> None:
        """Clients are closed by their owners."""

    def _consumer(self, **options: Any) -> Any:
        fixed = {
            "enable_auto_commit": False,
            "auto_offset_reset": "earliest",
            "isolation_level": "read_committed",
            "fetch_max_wait_ms": 500,  # data ends the wait at once; without any, fewer wake-ups
            "allow_auto_create_topics": False,
        }
        return self._connect(lambda: KafkaConsumer(**{**self._options, **fixed, **options}))

    def _connect(self, make: Callable[[], Any]) -> Any:
        try:
            return make()
        except KafkaError as error:
            servers = ",".join(self._options["bootstrap_servers"])
            raise BusError(f"no Kafka broker answers at {servers}: is it running? ({error})") from error


@contextlib.contextmanager
def _broker_asked() -> Iterator[None]:
    """What the client raises when the broker goes away in the middle is a BusError to everybody else."""
    try:
        yield
    except KafkaError as error:
        raise BusError(f"the broker no longer answers: {error}") from error


def _partitions(consumer: Any, topics: Sequence[str]) -> list[TopicPartition]:
    """The partitions of topics; a topic created a moment ago may take some time to be known."""
    parts: list[TopicPartition] = []
    for topic in topics:
        give_up = time.monotonic() + 10
        while not (numbers := consumer.partitions_for_topic(topic)):
            if time.monotonic() > give_up:
                raise BusError(f"no topic {topic!r}: create it first (`pawl topics apply`)")
            time.sleep(0.1)
        parts += [TopicPartition(topic, number) for number in sorted(numbers)]
    return parts


def _record(record: Any) -> Record:
    return Record(
        record.topic,
        record.partition,
        record.offset,
        utc_from_milliseconds(record.timestamp),
        record.key,
        record.value,
        tuple(record.headers or ()),
    )


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, consumer: Any, on_assigned: OnAssigned, on_revoked: OnRevoked) -> None:
        self._consumer, self._assigned, self._revoked = consumer, on_assigned, on_revoked

    def on_partitions_revoked(self, revoked: Any) -> None:
        self._revoked([Partition(*part) for part in revoked])

    def on_partitions_assigned(self, assigned: Any) -> None:
        starts = self._assigned([Partition(*part) for part in assigned])
        for part in assigned:
            offset = starts.get(Partition(*part))
            if offset is None:
                self._consumer.seek_to_beginning(part)
            else:
                self._consumer.seek(part, offset)


class _KafkaConsumer:
    def __init__(self, consumer: Any, uncommitted: Any) -> None:
        self._consumer = consumer
        # Asked for ends only: those that committed readers see leave out what open transactions have written already.
        self._uncommitted = uncommitted
        self._lonely_since: float | None = None

    def poll(self, timeout: float) -> list[Record]:
        try:
            batch = self._consumer.poll(timeout_ms=int(timeout * 1000))
        except KafkaError as error:
            raise BusError(f"the broker refused to deliver: {error}") from error
        self._watch_assignment()
        return [_record(record) for records in batch.values() for record in records]

    def _watch_assignment(self) -> None:
        if self._consumer.assignment():
            self._lonely_since = None
            return
        self._lonely_since = self._lonely_since or time.monotonic()
        if time.monotonic() - self._lonely_since > LONELY_SECONDS:
            raise BusError(f"the group has given this member no partitions for {LONELY_SECONDS:.0f} s")

    def hold(self, partitions: Collection[Partition]) -> None:
        assigned, paused = self._consumer.assignment(), self._consumer.paused()
        wanted = {TopicPartition(*part) for part in partitions} & assigned
        if wanted - paused:
            self._consumer.pause(*(wanted - paused))
        if paused - wanted:
            self._consumer.resume(*(paused - wanted))

    def ends(self) -> dict[Partition, int]:
        parts = list(self._consumer.assignment())
        if not parts:
            return {}
        try:
            found = self._uncommitted.end_offsets(parts, timeout_ms=ENDS_TIMEOUT_MS)
        except KafkaError as error:
            raise BusError(f"the broker does not say where its partitions end: {error}") from error
        return {Partition(*part): offset for part, offset in found.items()}

    def reached(self, ends: Mapping[Partition, int]) -> list[Partition]:
        found = [(Partition(*part), self._consumer.position(part)) for part in self._consumer.assignment()]
        return [part for part, at in found if part in ends and at is not None and at >= ends[part]]

    def lag(self) -> int:
        known = [(part, self._consumer.highwater(part)) for part in self._consumer.assignment()]
        return sum(max(0, high - self._consumer.position(part)) for part, high in known if high is not None)

    def close(self) -> None:
        self._uncommitted.close()
        self._consumer.close()


class _KafkaProducer:
    def __init__(self, producer: Any) -> None:
        self._producer = producer
        self._room = threading.BoundedSemaphore(MAX_OUTSTANDING)

    def send(self, message: Message) -> Future[Partition]:
        future: Future[Partition] = Future()
        self._room.acquire()

        def done(metadata: Any) -> None:
            self._room.release()
            future.set_result(Partition(metadata.topic, metadata.partition))

        def failed(error: BaseException) -> None:
            self._room.release()
            future.set_exception(BusError(f"{message.topic}: {error or type(error).__name__}"))

        try:
            sent = self._producer.send(
                message.topic, value=message.value, key=message.key, headers=list(message.headers)
            )
        except (KafkaError, AssertionError, TypeError, ValueError) as error:
            failed(error)
        else:
            sent.add_callback(done)
            sent.add_errback(failed)
        return future

    def ready(self, topic: str) -> bool:
        # partitions_for() of the client would fetch what it does not know
        return self._producer._metadata.partitions_for_topic(topic) is not None

    def flush(self, timeout: float = 60.0) -> None:
        try:
            self._producer.flush(timeout=timeout)
        except KafkaError as error:
            raise BusError(f"not everything was acknowledged: {error}") from error

    def close(self) -> None:
        # with the broker away its own flush raises; what is not acknowledged has failed its future by then
        with contextlib.suppress(KafkaError):
            self._producer.close(timeout=10)


class _KafkaTransactions:
    def __init__(self, producer: Any, transactional_id: str) -> None:
        self._producer, self._id = producer, transactional_id

    def commit(self, messages: Sequence[Message], offsets: Mapping[Partition, int], group: str) -> None:
        try:
            self._producer.begin_transaction()
            sent = [self._producer.send(m.topic, value=m.value, key=m.key, headers=list(m.headers)) for m in messages]
            if offsets:
                taken = {TopicPartition(*part): OffsetAndMetadata(offset, "", -1) for part, offset in offsets.items()}
                self._producer.send_offsets_to_transaction(taken, group)
            self._producer.commit_transaction()
            for future in sent:
                future.get(timeout=0)
        except KafkaError as error:
            if _is_fenced(error):
                raise FencedError(f"another instance has taken over {self._id!r}: this one stops") from error
            with contextlib.suppress(KafkaError):
                self._producer.abort_transaction()
            raise BusError(f"the transaction of {self._id!r} did not commit: {error}") from error

    def close(self) -> None:
        self._producer.close(timeout=10)


def _is_fenced(error: KafkaError) -> bool:
    """Once fenced, kafka-python answers every call with a plain KafkaError that only quotes the first error's name."""
    names = (ProducerFencedError.__name__, InvalidProducerEpochError.__name__)
    return isinstance(error, ProducerFencedError | InvalidProducerEpochError) or any(n in str(error) for n in names)
