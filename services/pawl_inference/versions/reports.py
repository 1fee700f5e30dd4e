"""What this replica tells the others: which deployments it has applied, and records that it could not read."""

from __future__ import annotations

from random import Random

from pawl_inference.record.publisher import Publisher
from pawl_inference.settings import SERVICE
from pawl_shared import codec, logging, metrics
from pawl_shared.buses.port import Message, Record
from pawl_shared.clock import Clock
from pawl_shared.dead_letter import dead_letter
from pawl_shared.errors import BusError
from pawl_shared.events import ReplicaReported
from pawl_shared.ids import uuid7
from pawl_shared.topics import KEYS

log = logging.get(__name__)


class Reports:
    """Publishes; a broker that is away is logged, and the caller may try again."""

    def __init__(self, publisher: Publisher, *, source: str, url: str, clock: Clock, rng: Random) -> None:
        self._publisher = publisher
        self._source = source
        self._url = url
        self._clock = clock
        self._rng = rng

    def replica(
        self,
        applied: dict[str, int],
        slots: dict[str, str],
        problems: tuple[str, ...],
        healthy: bool,
        stopped: bool = False,
    ) -> bool:
        """Publish a ReplicaReported; answers whether the broker has it."""
        now = self._clock.now()
        event = ReplicaReported(
            id=uuid7(now, self._rng),
            time=now,
            source=self._source,
            replica=self._source,
            applied=applied,
            slots=slots,
            healthy=healthy,
            problems=problems,
            url=self._url,
            stopped=stopped,
        )
        try:
            self._publisher.publish([codec.encode(event)])
        except BusError as error:
            log.warning("the replica's state is not published", error=str(error))
            return False
        return True

    def unreadable(self, record: Record, reason: str) -> None:
        """Send a record to the dead letters."""
        log.warning("record is not readable", topic=record.topic, offset=record.offset, reason=reason)
        metrics.DEAD_LETTERS.labels(SERVICE, record.topic).inc()
        try:
            self._publisher.publish([codec.encode(dead_letter(record, SERVICE, self._source, reason))])
        except BusError as error:
            # Read again, and reported with the same id, at the next start.
            log.warning("the dead letter is not published", error=str(error))

    def erase_again(self, key: bytes) -> None:
        """Send another tombstone for a data key that came back after its erasure: the journal had sent it twice."""
        log.warning("an erased key came back, and is erased again", key=key.decode("utf-8", "replace")[-32:])
        try:
            self._publisher.publish([Message(KEYS.name, key, None)])
        except BusError as error:
            # Met and erased again at the next start: the tombstone still stands before it.
            log.warning("the tombstone is not published", error=str(error))

    def close(self) -> None:
        """Disconnect."""
        self._publisher.close()
