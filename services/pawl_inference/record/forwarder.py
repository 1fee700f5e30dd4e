"""Sends the journal to the broker, in order, for as long as the service lives."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

from pawl_inference import metrics
from pawl_inference.record.journal import Journal
from pawl_inference.record.publisher import Publisher
from pawl_inference.settings import SERVICE
from pawl_shared import codec, logging
from pawl_shared import metrics as shared_metrics
from pawl_shared.buses.port import Message, Record
from pawl_shared.dead_letter import dead_letter
from pawl_shared.errors import BusError
from pawl_shared.packed import unpack
from pawl_shared.topics import KEYS, MAX_RECORD_BYTES

log = logging.get(__name__)
BATCH = 500
# Between two batches, unless more waits than one holds. A batch costs the broker and those who read along some 8 ms of
# CPU, however little is in it, which an engine on the same machine lacks.
PACE_SECONDS = 0.25
_MAX_DELAY = 5.0
_SPARE = 4096  # for the key and what the protocol adds


def _fitting(number: int, message: Message) -> Message:
    """The message, or a dead letter about it where no record can hold it: one such must not hold up all others."""
    if len(message.value or b"") + sum(len(n) + len(v) + 10 for n, v in message.headers) < MAX_RECORD_BYTES - _SPARE:
        return message
    log.error("a record is too large for the broker", topic=message.topic, record=number)
    shared_metrics.DEAD_LETTERS.labels(SERVICE, message.topic).inc()
    time_of = dict(message.headers).get("ce_time", b"").decode()
    at = datetime.fromisoformat(time_of) if time_of else datetime.fromtimestamp(0, UTC)
    record = Record(message.topic, 0, number, at, message.key, message.value, message.headers)
    reason = f"larger than a record may be ({MAX_RECORD_BYTES} bytes); `offset` is its number in the journal"
    return codec.encode(dead_letter(record, SERVICE, f"pawl-{SERVICE}-journal", reason))


class Forwarder:
    """One thread from the journal to the broker. What was sent but not acknowledged is sent again; ids make repeats
    harmless."""

    def __init__(self, journal: Journal, publisher: Publisher) -> None:
        self._journal = journal
        self._publisher = publisher
        self._stop_at: float | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal-forwarder", daemon=True)

    def start(self) -> None:
        """Begin with what an earlier process may have left."""
        if self._journal.backlog:
            log.info("journal has records of an earlier run", records=self._journal.backlog)
        self._thread.start()

    def stop(self, grace: float = 5.0) -> None:
        """Send what is left for at most `grace` seconds; the rest stays in the journal for the next start."""
        self._stop_at = time.monotonic() + grace
        self._stopped.set()
        self._thread.join(grace + 1.0)
        self._publisher.close()

    def forward(self) -> int:
        """Send one batch; answers the number of its records. Raises BusError."""
        end = self._journal.end
        batch = self._journal.read(BATCH)
        messages = [_fitting(number, unpack(payload)) for number, payload in batch]
        # A key stands in the journal before what it seals; on the broker it is acknowledged before that is sent.
        self._publisher.publish([message for message in messages if message.topic == KEYS.name])
        self._publisher.publish([message for message in messages if message.topic != KEYS.name])
        # An empty batch before the end: these numbers were damaged on disk.
        self._journal.acknowledge(batch[-1][0] + 1 if batch else end)
        metrics.FORWARDED.inc(len(batch))
        return len(batch)

    def _run(self) -> None:
        delay = 0.1
        while not self._stopping():
            if not self._journal.wait(self._journal.acknowledged, 0.1):
                continue
            try:
                sent = self.forward()
                delay = 0.1
                if sent < BATCH:
                    self._stopped.wait(PACE_SECONDS)
            except BusError as error:
                log.warning("journal waits for the broker", error=str(error), records=self._journal.backlog)
                time.sleep(delay)
                delay = min(_MAX_DELAY, delay * 2)
            except Exception:
                # A thread that ended here would let the journal grow until nothing is answered any more.
                log.exception("forwarding the journal failed; trying again", records=self._journal.backlog)
                time.sleep(_MAX_DELAY)

    def _stopping(self) -> bool:
        if self._stop_at is None:
            return False
        return self._journal.backlog == 0 or time.monotonic() >= self._stop_at
