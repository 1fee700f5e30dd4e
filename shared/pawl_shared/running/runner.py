"""The runner: all exactly-once work of Pawl, once.

It feeds events to pure folds, in the one order of their arrival across all partitions (arrivals.py), and commits what
they answer - state, rows, outgoing events, owed effects - together with the offsets and the ids that were read, through
a transactional store. A crash before the commit changes nothing; after it, nothing is done twice. What cannot be read,
or what a fold cannot handle, becomes a dead letter and stops nothing.

Effects are work outside the process (train, evaluate, freeze a snapshot). A fold only says that one is owed; it is
begun after the commit, begun again after a restart, and ends in events with derived ids: running it twice is harmless.
"""

from __future__ import annotations

import contextlib
import faulthandler
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pawl_shared import logging, metrics
from pawl_shared.buses.arrivals import Arrivals
from pawl_shared.buses.port import Bus, Consumer, Message, Partition, Producer, Record
from pawl_shared.codec import encode
from pawl_shared.errors import BusError, SecondInstanceError
from pawl_shared.events import Event
from pawl_shared.running.alone import Alone
from pawl_shared.running.collector import SeldomCollected
from pawl_shared.running.committing import Committing, quick_switches
from pawl_shared.running.effects import FIRST_PAUSE_SECONDS, EffectHandler, EffectRunner, one_thread
from pawl_shared.running.fold import Fold
from pawl_shared.running.folding import Folding
from pawl_shared.running.outbox import Outbox
from pawl_shared.stores.port import Commit, Effect, TransactionalStore

CLOSE_SECONDS = 5.0  # for what the broker has not acknowledged
FULL_BATCH = 5_000  # records; a larger batch is committed no faster per record


@dataclass(frozen=True)
class Pace:
    """How a runner waits and where its effects are done; simulations pass their own.

    Args:
        poll: seconds that one look for records waits for the first one.
        gather: seconds from a batch's first record to its commit, in which further records join it.
        settle: seconds between reading a record and asking where the partitions end, so that the broker's clock, which
            counts milliseconds, has moved on since that record.
        stuck: seconds that one turn may take before the process is ended.
        effect_pause: seconds before an effect that failed is tried again.
        sleep: waits.
        pool: makes what does the effects of one kind.
        alone: seconds that a second process of this service waits for the first one to end, before it refuses to work.
        committer: makes what commits a batch while the next one is folded (worth it where the store works outside of
            Python, and there is much to read); none: batches are committed before anything else is read.
        backlog: so many records that wait are folded while the batch before is committed, and while the broker takes
            what came of it; fewer wait for both.
    """

    poll: float = 0.1
    gather: float = 0.0
    settle: float = 0.002
    stuck: float = 150.0  # sending what is owed may wait 120 s for the broker
    effect_pause: float = FIRST_PAUSE_SECONDS
    sleep: Callable[[float], None] = time.sleep
    pool: Callable[[str], Executor] = one_thread
    committer: Callable[[], Executor] | None = None
    backlog: int = 1_000
    alone: float = 15.0


class Runner:
    """Runs folds on one consumer, in one thread: run() does it all, or start(), any number of turn() and close().

    Args:
        service: names the consumer group, the metrics and the dead letters.
        source: who publishes, in events (service and instance).
        instance: this member of the group, the same after a restart.
        handlers: for each kind of effect, what does the work (one at a time for each kind).
    """

    def __init__(
        self,
        service: str,
        source: str,
        instance: str,
        bus: Bus,
        store: TransactionalStore,
        folds: Sequence[Fold[Any]],
        handlers: Mapping[str, EffectHandler] | None = None,
        on_ready: Callable[[], None] = lambda: None,
        pace: Pace = Pace(),
    ) -> None:
        self.service, self.source, self._instance = service, source, instance
        self._bus, self._store, self._pace, self._on_ready = bus, store, pace, on_ready
        self.topics = tuple(dict.fromkeys(topic for fold in folds for topic in fold.topics))
        self._log = logging.get(f"pawl.{service}")
        self._folding = Folding(service, source, store, folds, self._log)
        self._committing = Committing(service, store, pace.committer() if pace.committer else None)
        self._handlers = dict(handlers or {})
        self._arrivals = Arrivals()
        self._asked: tuple[datetime, Mapping[Partition, int]] | None = None
        self.behind = 0  # records between this and the end of its topics, after the latest turn
        self._producer: Producer | None = None
        self._outbox = Outbox(store, self._send)
        self._consumer: Consumer | None = None
        self._group = f"pawl-{service}"
        self._alone = Alone(bus, self._group, instance, pace.alone)
        self._joined = False
        self._effects: EffectRunner | None = None

    # ------------------------------------------------------------ life

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set. Raises FencedError or BusError when it cannot go on; a supervisor restarts it."""
        try:
            self.start()
            self._on_ready()
            self._turns(stop)
        finally:
            faulthandler.cancel_dump_traceback_later()
            self.close()

    def _turns(self, stop: threading.Event) -> None:
        aside = contextlib.nullcontext() if self._pace.committer is None else quick_switches()
        with SeldomCollected() as collector, aside:
            while not stop.is_set():
                # A validator on kafka-python was once seen to make no more turns after its group had expelled it. On
                # librdkafka one comes back (tests/faults/test_expelled.py); a process that hangs all the same, for
                # whatever reason, ends with all stacks in its log.
                faulthandler.dump_traceback_later(self._pace.stuck, exit=True, file=sys.__stderr__ or sys.stderr)
                self.turn()
                collector.now()

    def start(self) -> None:
        """Recover, send what is still to be sent, begin what is owed, join the group.

        Raises SecondInstanceError: another instance of this service is at work.
        """
        self._alone.enter(self._pace.sleep)
        self._store.open()
        self._producer = self._bus.producer(self.source)
        self._effects = EffectRunner(
            self._handlers, self._publish_progress, self._log, self._pace.pool, self._pace.effect_pause
        )
        self._consumer = self._bus.consumer(self._group, self._instance, self.topics, self._assigned, self._revoked)
        self._outbox.drain()
        self._begin(self._store.effects())

    def turn(self) -> int:
        """Read once, handle what is in order, commit what effects ended in; answers how many records were handled."""
        consumer = self._started()
        records = self._read()
        for start in range(0, len(records), FULL_BATCH):
            self.handle(records[start : start + FULL_BATCH])
        self._finish_effects()
        self._tell_owed()
        self.behind = consumer.lag()
        metrics.LAG.labels(self.service).set(self.behind)
        return len(records)

    def at_end(self) -> bool:
        """Whether everything was handled that the broker had when this was asked."""
        consumer = self._started()
        self._settle()
        ends = consumer.ends()
        return bool(ends) and not len(self._arrivals) and len(consumer.reached(ends)) == len(ends)

    def close(self) -> None:
        """Leave the group and disconnect; effects at work end, stay owed, and begin again with the next start."""
        try:
            self._committing.close()
            with contextlib.suppress(Exception):  # what has not arrived is sent again after the next start
                self._outbox.settle(CLOSE_SECONDS)
        finally:
            if self._effects is not None:
                self._effects.close()
            if self._consumer is not None:
                with contextlib.suppress(Exception):
                    self._consumer.close()
            if self._producer is not None:
                self._producer.close()
            self._store.close()

    def _started(self) -> Consumer:
        assert self._consumer is not None, "start() comes first"
        return self._consumer

    # ------------------------------------------------------------ reading in order

    def _read(self) -> list[Record]:
        """Poll, and answer what is in order by now."""
        consumer = self._started()
        self._arrivals.add(consumer.poll(0 if self._committing.pending else self._pace.poll))
        if len(self._arrivals) < self._pace.backlog:
            self._settle()
        if self._pace.gather:
            give_up = time.monotonic() + self._pace.gather
            while 0 < len(self._arrivals) < FULL_BATCH and (left := give_up - time.monotonic()) > 0:
                self._arrivals.add(consumer.poll(left))
        if self._joined:
            self._joined = not self._works_alone()
        self._ask(consumer)
        ready = self._arrivals.release()
        consumer.hold(self._arrivals.crowded())
        return ready

    def _works_alone(self) -> bool:
        """False: the broker does not say. Raises SecondInstanceError, before anything of this batch is handled."""
        try:
            self._alone.joined()
        except SecondInstanceError:
            raise
        except BusError as error:
            self._log.warning("cannot tell who else is in the group", reason=str(error))
            return False
        return True

    def _ask(self, consumer: Consumer) -> None:
        """Find out which partitions have nothing on its way that would come before what waits here."""
        if self._asked is not None:
            moment, ends = self._asked
            self._arrivals.complete(moment, consumer.reached(ends))
        latest = self._arrivals.latest
        if not len(self._arrivals) or latest is None or self._arrivals.complete_until(latest):
            return
        self._pace.sleep(self._pace.settle)
        try:
            self._asked = latest, consumer.ends()
        except BusError as error:  # what waits goes on waiting; the next turn asks again
            self._log.warning("cannot tell what is on its way", reason=str(error))
            return
        self._arrivals.complete(latest, consumer.reached(self._asked[1]))

    def _assigned(self, partitions: Collection[Partition]) -> dict[Partition, int | None]:
        self._settle()
        self._folding.forget()
        known = self._store.positions(list(partitions))
        self._arrivals.assign(partitions)
        self._asked, self._joined = None, True
        return {part: known.get(part) for part in partitions}

    def _revoked(self, partitions: Collection[Partition]) -> None:
        """What was read of these and not committed will be read again, here or by another member."""
        self._arrivals.drop(partitions)

    # ------------------------------------------------------------ one batch, and what follows

    def handle(self, records: Sequence[Record]) -> None:
        """Fold a batch, which is in order, and commit it (or begin to: the next one is folded in the meantime)."""
        if not records:
            return
        batch = self._folding.fold(self._folding.read(records))

        def follow() -> None:
            batch.count(self.service)
            self._outbox.send()
            if batch.effects:
                self._outbox.settle()
            self._begin(batch.effects)

        self._committing.commit(batch.commit(), follow)

    def _settle(self) -> None:
        """Until the latest batch is committed, and the broker has what came of it."""
        self._committing.settle()
        self._outbox.settle()

    def _begin(self, effects: Iterable[Effect]) -> None:
        if self._effects is not None:
            for effect in effects:
                self._effects.begin(effect)

    def _finish_effects(self) -> None:
        assert self._effects is not None, "start() has made it"
        for done in self._effects.finished():
            self._settle()
            messages = [encode(event) for event in done.events]
            self._store.commit(Commit(messages=messages, done=[done.effect.id]))
            self._outbox.drain()

    def _tell_owed(self) -> None:
        assert self._effects is not None, "start() has made it"
        for kind, number in self._effects.owed().items():
            metrics.EFFECTS.labels(self.service, kind).set(number)

    def _publish_progress(self, events: Iterable[Event]) -> None:
        """Straight to the broker, outside any transaction: progress that gets lost is no harm."""
        for event in events:
            self._send(encode(event))

    def _send(self, message: Message) -> Future[Partition]:
        assert self._producer is not None, "start() has made it"
        return self._producer.send(message)
