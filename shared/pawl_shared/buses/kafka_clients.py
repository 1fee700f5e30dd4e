"""What all librdkafka clients share: their settings, their logs, and what their errors are to everybody else."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, TypeVar

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from pawl_shared.buses.port import Partition
from pawl_shared.errors import BusError, FencedError

Settings = dict[str, Any]
T = TypeVar("T")

# A consumer that belongs to no group must still name one; it never joins it.
NO_GROUP = "pawl-reader"
# How long a call that cannot go on without an answer waits for a broker; 2.5 s is what a restart takes.
ANSWER_SECONDS = 10.0
CLOSE_SECONDS = 10.0
# A topic that was created a moment ago may take some time to be known.
KNOWN_SECONDS = 10.0

_FENCED = {
    KafkaError._FENCED,
    KafkaError.PRODUCER_FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.FENCED_INSTANCE_ID,
}
_COORDINATOR = {
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
}
# Each attempt of each connection, and options that are for other clients of the bus; what follows from a broker that is
# away is in the lines of those who wait for it.
_FOR_DEBUGGING = {"FAIL", "ERROR", "TERMINATE", "REQTMOUT", "GETPID", "CONFWARN"}
# Of such attempts those that no waiting mends; the client itself tells each of them only now and then.
_REFUSED = ("SASL authentication error", "SSL handshake failed", "SSL routines")
# The standard library's: where nobody has configured logs, as in the command line, only warnings come through.
log = logging.getLogger("pawl.kafka")


class Lines:
    """Takes librdkafka's log lines, which come while its client is polled, into ours."""

    def log(self, level: int, _: str, facility: str, client: str, line: str) -> None:
        """Called by the client, with the levels of the standard library."""
        refused = any(word in line for word in _REFUSED)
        log.log(
            logging.WARNING if refused else logging.DEBUG if facility in _FOR_DEBUGGING else level,
            "%s %s: %s",
            client,
            facility,
            line,
        )


# For clients that nobody polls, whose lines would pile up: only what ends the process anyway.
SILENT: Settings = {"log_level": 0}


def error_of(exception: KafkaException) -> KafkaError:
    """What a KafkaException carries."""
    error: KafkaError = exception.args[0]
    return error


def is_fenced(error: KafkaError) -> bool:
    """Whether another instance has taken over this one's name."""
    return error.code() in _FENCED


@contextlib.contextmanager
def broker_asked(what: str = "the broker no longer answers") -> Iterator[None]:
    """What the client raises is a BusError to everybody else."""
    try:
        yield
    except KafkaException as exception:
        error = error_of(exception)
        if is_fenced(error):
            raise FencedError(f"another instance has taken over: this one stops ({error.str()})") from exception
        raise BusError(f"{what}: {error.str()}") from exception


def coordinated(ask: Callable[[], T]) -> T:
    """The answer of a group's coordinator, which for a moment may be unknown, loading or another one: asked again."""
    give_up = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            return ask()
        except KafkaException as exception:
            if error_of(exception).code() not in _COORDINATOR or time.monotonic() > give_up:
                raise
            time.sleep(0.1)


def listed(client: Any, *topic: str) -> dict[str, Any]:
    """What the cluster says of its topics, or of one. Raises BusError: no broker answers; why stands in the log."""
    try:
        with broker_asked("no Kafka broker answers; is one running at PAWL_KAFKA_BOOTSTRAP_SERVERS?"):
            topics: dict[str, Any] = client.list_topics(*topic, timeout=ANSWER_SECONDS).topics
            return topics
    except BusError:
        client.poll(0)  # brings its lines, a refused login for one
        raise


def partitions(client: Any, topics: Sequence[str]) -> list[Partition]:
    """The partitions of topics. Raises BusError: no broker answers, or a topic does not exist."""
    parts: list[Partition] = []
    for topic in topics:
        give_up = time.monotonic() + KNOWN_SECONDS
        while not (numbers := _numbers(client, topic)):
            if time.monotonic() > give_up:
                raise BusError(f"no topic {topic!r}: create it first (`pawl topics apply`)")
            time.sleep(0.1)
        parts += [Partition(topic, number) for number in numbers]
    return parts


def _numbers(client: Any, topic: str) -> list[int]:
    """Of a topic whose partitions all have leaders; otherwise none."""
    found = listed(client, topic)[topic]
    ready = found.error is None and all(part.leader >= 0 for part in found.partitions.values())
    return sorted(found.partitions) if ready else []


def ends(consumer: Any, parts: Collection[Partition], timeout: float) -> dict[Partition, int]:
    """Where partitions end, by one request to each of their brokers. Raises BusError when one does not answer.

    For a consumer that reads committed records, that is where the first open transaction begins.
    """
    give_up = time.monotonic() + timeout
    while True:
        try:
            return _ends(consumer, parts, max(0.1, give_up - time.monotonic()))
        except BusError:  # a broker that was started again answers once with an error
            if time.monotonic() > give_up:
                raise
            time.sleep(0.05)


def _ends(consumer: Any, parts: Collection[Partition], timeout: float) -> dict[Partition, int]:
    asked = [TopicPartition(*part, confluent_kafka.OFFSET_END) for part in parts]
    with broker_asked("the broker does not say where its partitions end"):
        found = consumer.offsets_for_times(asked, timeout)
    for part in found:
        if part.error is not None or part.offset < 0:
            reason = part.error or "no answer"
            raise BusError(f"the broker does not say where {part.topic}/{part.partition} ends: {reason}")
    return {Partition(part.topic, part.partition): part.offset for part in found}


def closed_in_time(close: Callable[[], object], name: str) -> None:
    """Close a client; one that waits for a broker that is away is left to a thread."""

    def work() -> None:
        try:
            close()
        except Exception as error:
            log.warning("%s did not close: %s", name, error)

    thread = threading.Thread(target=work, name=f"close-{name}", daemon=True)
    thread.start()
    thread.join(CLOSE_SECONDS)
