"""The bus on Apache Kafka, by confluent-kafka, which is librdkafka (docs/adr/0017-librdkafka.md).

Static membership keeps a restarted consumer's partitions: 0.5 s from SIGKILL to its first message instead of 6-8 s.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from pawl_shared.buses.kafka_clients import (
    ANSWER_SECONDS,
    NO_GROUP,
    SILENT,
    Lines,
    broker_asked,
    coordinated,
    ends,
    error_of,
    listed,
    partitions,
)
from pawl_shared.buses.kafka_consumer import READING, Feed, KafkaConsumer
from pawl_shared.buses.kafka_producer import KafkaProducer, KafkaTransactions
from pawl_shared.buses.kafka_settings import KafkaSettings
from pawl_shared.buses.port import Bus, OnAssigned, OnRevoked, Partition, Record
from pawl_shared.topics import Topic

# A reader that gets nothing for so long, and does not stand at the end, asks whether the broker is still there.
SILENCE_SECONDS = 5.0
# Who follows a topic asks again and again where it ends, and on one connection the broker answers when the fetch before
# is over. 1 swap of 90 waited half a second for that: its record had come just before the question. Waiting for a tenth
# costs the broker 5 to 8 ms of CPU a second and reader.
FOLLOWING = {"fetch.wait.max.ms": 100}
# librdkafka begins no second connection before half of the first number is over (at least 11 ms), and every client
# makes two: to whom it was told of, then to the broker by its own name. Of 100, the default, a forced rollback paid
# 50 ms nine times.
RECONNECTING = {"reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 1_000}


class KafkaBus(Bus):
    """Connections to one cluster. `options` go to every client, under librdkafka's names (`security.protocol`, ...)."""

    def __init__(self, bootstrap_servers: str, options: Mapping[str, Any] | None = None) -> None:
        self._settings: dict[str, Any] = {
            "bootstrap.servers": bootstrap_servers,
            **RECONNECTING,
            **(options or {}),
        }

    @classmethod
    def of(cls, settings: KafkaSettings) -> Self:
        """To the cluster that settings name, as it asks for it."""
        options = settings.client_options()
        return cls(options.pop("bootstrap.servers"), options)

    def create_topics(self, topics: Sequence[Topic]) -> list[str]:
        with AdminClient(self._settings, logger=Lines()) as admin, broker_asked("topics cannot be created"):
            existing = listed(admin)
            new = [topic for topic in topics if topic.name not in existing]
            wanted = [NewTopic(topic.name, topic.partitions, -1, config=topic.config) for topic in new]
            for created in (admin.create_topics(wanted) if wanted else {}).values():
                try:
                    created.result()
                except KafkaException as error:  # another service may have created it since the listing
                    if error_of(error).code() != KafkaError.TOPIC_ALREADY_EXISTS:
                        raise
            partitions(admin, [topic.name for topic in new])
            return [topic.name for topic in new]

    def producer(self, name: str) -> KafkaProducer:
        return KafkaProducer(self._settings | {"client.id": name})

    def transactions(self, transactional_id: str) -> KafkaTransactions:
        return KafkaTransactions(self._settings, transactional_id)

    def consumer(
        self, group: str, instance: str, topics: Sequence[str], on_assigned: OnAssigned, on_revoked: OnRevoked
    ) -> KafkaConsumer:
        return KafkaConsumer(self._settings, group, instance, topics, on_assigned, on_revoked)

    def read(
        self,
        topic: str,
        stop: Callable[[], bool] | None = None,
        timeout: float = 0.2,
        behind: Callable[[int], None] = lambda _: None,
        tail: bool = False,
    ) -> Iterator[Record | None]:
        with contextlib.closing(Feed(self._settings | {"group.id": NO_GROUP} | FOLLOWING)) as feed:
            parts = partitions(feed.consumer, [topic])
            goals = ends(feed.consumer, parts, ANSWER_SECONDS)
            feed.start(dict(goals) if tail else dict.fromkeys(parts))
            if tail:  # stands at the end: a first fetch would wait for what is not there
                yield None
                goals = ends(feed.consumer, parts, ANSWER_SECONDS)
            heard = time.monotonic()
            while True:
                if records := feed.poll(timeout):
                    heard = time.monotonic()
                    yield from records
                at = feed.positions()
                behind(sum(max(0, goals[part] - at[part]) for part in parts))  # more may have come since
                if all(at[part] >= goals[part] for part in parts):
                    if stop is None:
                        return
                    yield None
                    goals = ends(feed.consumer, parts, ANSWER_SECONDS)
                    behind(sum(max(0, goals[part] - at[part]) for part in parts))
                elif time.monotonic() - heard > SILENCE_SECONDS:
                    ends(feed.consumer, parts, ANSWER_SECONDS)
                    heard = time.monotonic()
                if stop is not None and stop():
                    return

    def committed(self, group: str, topics: Sequence[str]) -> dict[Partition, int]:
        consumer = confluent_kafka.Consumer(READING | self._settings | SILENT | {"group.id": group})
        with contextlib.closing(consumer), broker_asked():
            parts = partitions(consumer, topics)
            asked = [TopicPartition(*part) for part in parts]
            found = coordinated(lambda: consumer.committed(asked, ANSWER_SECONDS))
            return {Partition(part.topic, part.partition): part.offset for part in found if part.offset >= 0}

    def members(self, group: str) -> set[str]:
        with AdminClient(self._settings | SILENT) as admin, broker_asked():
            try:
                [asked] = admin.describe_consumer_groups([group], request_timeout=ANSWER_SECONDS).values()
                found = asked.result().members
            except KafkaException as error:
                if error_of(error).code() != KafkaError.GROUP_ID_NOT_FOUND:
                    raise
                return set()
            return {(member.group_instance_id or member.member_id).removeprefix(f"{group}-") for member in found}

    def close(self) -> None:
        """Clients are closed by their owners."""
