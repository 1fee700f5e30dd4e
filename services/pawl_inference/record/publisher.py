"""A producer that connects when it is first needed, and anew after the broker has failed it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError

from pawl_shared import logging
from pawl_shared.buses.port import Bus, Message, Partition, Producer
from pawl_shared.errors import BusError

log = logging.get(__name__)


class Publisher:
    """Sends messages and waits until the broker has them. May block: not for the event loop."""

    def __init__(self, bus: Bus, name: str, timeout: float) -> None:
        self._bus = bus
        self._name = name
        self._timeout = timeout
        self._lock = threading.Lock()
        self._producer: Producer | None = None

    def send(self, message: Message) -> Future[Partition]:
        """Hand a message over; the future is done when the broker has it. Raises BusError when none can be reached."""
        with self._lock:
            producer = self._producer = self._producer or self._bus.producer(self._name)
        return producer.send(message)

    def ready(self, topic: str) -> bool:
        """Whether `send` would answer at once: there is a producer, and it can take messages for the topic."""
        producer = self._producer
        return producer is not None and producer.ready(topic)

    def publish(self, messages: Sequence[Message]) -> None:
        """Send in order and wait for every acknowledgement. Raises BusError when one is missing."""
        try:
            for future in [self.send(message) for message in messages]:
                future.result(self._timeout)
        except FutureTimeoutError as error:
            self.reset()
            raise BusError(f"the broker acknowledged nothing for {self._timeout:.0f} s") from error
        except Exception:
            self.reset()
            raise

    def reset(self, wait: float = 10.0) -> None:
        """Drop the connection, and wait up to `wait` seconds for its end; the next message makes a new one."""
        with self._lock:
            producer, self._producer = self._producer, None
        if producer is not None:
            closing = threading.Thread(target=_close, args=(producer,), name="producer-close", daemon=True)
            closing.start()
            closing.join(wait)

    def close(self) -> None:
        """Disconnect, in a bounded time also when the broker is away."""
        self.reset(wait=2.0)


def _close(producer: Producer) -> None:
    try:
        producer.close()
    except Exception as error:
        log.warning("producer did not close", error=str(error))
