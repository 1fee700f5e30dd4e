"""Read topics from their beginning and go on: for people who watch, without a consumer group."""

import contextlib
import queue
import threading
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from pawl_shared.buses.port import Bus, Record
from pawl_shared.codec import decode
from pawl_shared.errors import BusError, DecodeError
from pawl_shared.events import Event
from pawl_shared.topics import Topic

RETRY_SECONDS = 1.0


class Follower:
    """Events of some topics, in `events` as they come; order holds within a topic."""

    def __init__(self, bus: Bus, topics: Sequence[Topic]) -> None:
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._bus = bus
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._read, args=(topic.name,), name=f"follow-{topic.name}", daemon=True)
            for topic in topics
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(5)

    def _read(self, topic: str) -> None:
        seen = 0  # records; after the broker was away we read again from the beginning, and skip those
        while not self._stop.is_set():
            position = 0
            try:
                for record in self._bus.read(topic, stop=self._stop.is_set, timeout=0.3):
                    if record is None:
                        continue
                    position += 1
                    if position > seen:
                        seen = position
                        self._put(record)
            except BusError:
                self._stop.wait(RETRY_SECONDS)

    def _put(self, record: Record) -> None:
        try:
            self.events.put(decode(record))
        except DecodeError:
            return  # the services report it as a dead letter; a spectator goes on


class Seen(NamedTuple):
    """An event, and when the broker took it: events that follow from others carry the time of their cause."""

    at: datetime
    event: Event


def history(bus: Bus, topics: Sequence[Topic]) -> list[Seen]:
    """All readable events of some topics up to their ends now, as the broker took them."""
    found = []
    for topic in topics:
        for record in bus.read(topic.name):
            if record is not None:
                with contextlib.suppress(DecodeError):
                    found.append(Seen(record.appended, decode(record)))
    return sorted(found, key=lambda seen: seen.at)


def everything(bus: Bus, topic: Topic) -> list[Event]:
    """All readable events of one topic up to its end now."""
    return [seen.event for seen in history(bus, [topic])]
