"""Writing to Kafka: an idempotent producer, and one whose messages and offsets become visible in one transaction."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import confluent_kafka
from confluent_kafka import KafkaException, TopicPartition

from pawl_shared.buses.kafka_clients import (
    CLOSE_SECONDS,
    SILENT,
    Lines,
    Settings,
    broker_asked,
    closed_in_time,
    error_of,
    is_fenced,
    listed,
    log,
)
from pawl_shared.buses.port import Message, Partition
from pawl_shared.errors import BusError, FencedError
from pawl_shared.topics import MAX_RECORD_BYTES

# Unacknowledged messages, and their size; beyond it callers wait.
MAX_OUTSTANDING = 10_000
MAX_OUTSTANDING_KIB = 128 << 10
# A message that no broker has taken by then has failed.
DELIVERY_SECONDS = 120.0
# So long a commit that can be tried again is tried again; the broker gives up a transaction after its own timeout.
COMMIT_SECONDS = 30.0
TRANSACTION_MS = 15_000
# So often an idle client's log lines are taken.
IDLE_SECONDS = 0.2
WRITING: Settings = {
    "acks": "all",
    "enable.idempotence": True,
    # A broker that refuses the first request to a partition, as while its leader changes or its log is being made,
    # takes the next with any sequence number, and librdkafka (2.16.0) then tells the refused one as delivered. With
    # five in flight, right after topics were made on a busy machine, 20 of 48 runs lost some of 200 messages.
    "max.in.flight": 1,
    "linger.ms": 5,
    "delivery.timeout.ms": int(DELIVERY_SECONDS * 1000),
    "message.max.bytes": MAX_RECORD_BYTES,
    "queue.buffering.max.messages": MAX_OUTSTANDING,
    "queue.buffering.max.kbytes": MAX_OUTSTANDING_KIB,
    # The partition of a key as every Java client, kafka-python and Faust compute it; librdkafka's own is another.
    "partitioner": "murmur2_random",
}


class KafkaProducer:
    """One client, and one thread in which all futures are done."""

    def __init__(self, settings: Settings) -> None:
        self._name = str(settings["client.id"])
        self._producer = confluent_kafka.Producer(WRITING | settings, logger=Lines())
        self._lock = threading.Lock()  # nothing is handed over while, or after, the client is closed
        self._served = threading.Condition()
        self._work = threading.Event()
        self._failed: str | None = None
        self._closing = self._closed = False
        self._thread = threading.Thread(target=self._serve, name=f"producer-{self._name}", daemon=True)
        self._thread.start()

    def send(self, message: Message) -> Future[Partition]:
        future: Future[Partition] = Future()
        future.set_running_or_notify_cancel()  # from here on it cannot be taken back

        def delivered(error: Any, sent: Any) -> None:
            if error is None:
                future.set_result(Partition(message.topic, sent.partition()))
            else:
                self._failed = f"{message.topic}: {error.str()}"
                future.set_exception(BusError(self._failed))

        try:
            while not self._handed_over(message, delivered):
                with self._served:
                    self._served.wait(0.1)
        except (KafkaException, TypeError, ValueError, RuntimeError) as error:
            reason = error_of(error).str() if isinstance(error, KafkaException) else error
            self._failed = f"{message.topic}: {reason}"
            future.set_exception(BusError(self._failed))
        return future

    def _handed_over(self, message: Message, delivered: Callable[[Any, Any], None]) -> bool:
        """False: too much is outstanding."""
        with self._lock:
            if self._closed:
                raise RuntimeError("the producer is closed")
            try:
                self._producer.produce(
                    message.topic,
                    message.value,
                    message.key,
                    -1 if message.partition is None else message.partition,
                    headers=list(message.headers),
                    on_delivery=delivered,
                )
            except BufferError:
                return False
            self._work.set()
            return True

    def ready(self, topic: str) -> bool:
        # A message whose partition is not known yet waits in the client, not in send().
        return not self._closed

    def flush(self, timeout: float = 60.0) -> None:
        with self._served:
            done = self._served.wait_for(lambda: self._closed or not len(self._producer), timeout)
        failed, self._failed = self._failed, None
        if failed or not done:
            raise BusError(f"not everything was acknowledged: {failed or f'waited for {timeout:.0f} s'}")

    def close(self) -> None:
        with contextlib.suppress(BusError):  # each future has its error
            self.flush(CLOSE_SECONDS)
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._producer.purge()
        self._closing = True
        self._work.set()
        self._thread.join()
        # What was purged is told here, and nothing is left to wait for.
        self._producer.close()

    def _serve(self) -> None:
        while not self._closing:
            self._work.clear()
            # While nothing is outstanding, all that can come are log lines; a wait for work ends when we are closed.
            if not len(self._producer) and not self._closing:
                self._work.wait(IDLE_SECONDS)
            try:
                # the client itself cuts longer waits at 0.2 s
                self._producer.poll(0.19 if len(self._producer) else 0)
            except KafkaException as error:  # what is sent from now on fails, and says why
                log.error("%s has failed: %s", self._name, error_of(error).str())
            except Exception:
                # Of somebody's callback; a thread that ended here would leave all others without an answer.
                log.exception("%s: an acknowledgement could not be passed on", self._name)
            with self._served:
                self._served.notify_all()


class KafkaTransactions:
    """A transactional producer for one thread."""

    def __init__(self, settings: Settings, transactional_id: str) -> None:
        self._id = transactional_id
        own = {"queue.buffering.max.messages": 1_000_000, "transaction.timeout.ms": TRANSACTION_MS}
        named = {"client.id": transactional_id, "transactional.id": transactional_id}
        whole = WRITING | own | settings | named
        # A message cannot wait longer than its transaction does.
        whole["delivery.timeout.ms"] = whole["transaction.timeout.ms"]
        self._producer = confluent_kafka.Producer(whole, logger=Lines())
        self._groups: dict[str, Any] = {}
        self._broken = ""
        # Who asks for its id before it knows the cluster may find no broker to ask, and asks again half a second later
        # (librdkafka 2.16.0: 19 of 60; after this 1 of 60).
        listed(self._producer)
        with broker_asked("no Kafka broker takes transactions; is it running?"):
            self._tried(self._producer.init_transactions)

    def commit(self, messages: Sequence[Message], offsets: Mapping[Partition, int], group: str) -> None:
        if self._broken:
            raise BusError(f"an earlier transaction of {self._id!r} did not end: start anew ({self._broken})")
        try:
            self._producer.poll(0)
            self._producer.begin_transaction()
            for message in messages:
                self._producer.produce(message.topic, message.value, message.key, headers=list(message.headers))
            if offsets:
                taken = [TopicPartition(*part, offset) for part, offset in offsets.items()]
                metadata = self._group(group)
                self._tried(lambda left: self._producer.send_offsets_to_transaction(taken, metadata, left))
            self._tried(self._producer.commit_transaction)
        except (KafkaException, BufferError, TypeError, ValueError) as error:
            self._abort(error)
            if isinstance(error, KafkaException) and is_fenced(error_of(error)):
                raise FencedError(f"another instance has taken over {self._id!r}: this one stops") from error
            raise BusError(f"the transaction of {self._id!r} did not commit: {error}") from error

    def _abort(self, error: Exception) -> None:
        """Only what librdkafka knows the end of can be followed by another transaction.

        After a step that timed out it aborts, begins again, and then waits for ever for the group's offsets (2.16.0).
        """
        if isinstance(error, KafkaException) and (error_of(error).fatal() or error_of(error).retriable()):
            self._broken = error_of(error).str()
            return
        try:
            self._tried(self._producer.abort_transaction)
        except KafkaException as failed:
            self._broken = error_of(failed).str()

    def _tried(self, step: Callable[[float], None]) -> None:
        """Again, where librdkafka says that trying again may help: the answer to the first time may be lost."""
        give_up = time.monotonic() + COMMIT_SECONDS
        while True:
            try:
                step(max(0.1, give_up - time.monotonic()))
            except KafkaException as exception:
                if not error_of(exception).retriable() or time.monotonic() > give_up:
                    raise
                time.sleep(0.05)
            else:
                return

    def _group(self, group: str) -> Any:
        """What a commit of offsets says of the group: its name, and no member of it; the id above fences enough."""
        if group not in self._groups:
            consumer = confluent_kafka.Consumer({"group.id": group} | SILENT)
            self._groups[group] = consumer.consumer_group_metadata()
            consumer.close()
        return self._groups[group]

    def close(self) -> None:
        self._producer.purge()
        if not self._broken:  # it would wait for an abort that does not come; the broker ends the transaction
            closed_in_time(self._producer.close, self._id)
