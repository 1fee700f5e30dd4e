"""A process with a real runner: each Tick of a model `echo-...` comes back as one PauseCommand, by Kafka transactions.

python -m support.echoing_runner SERVERS SERVICE
"""

import signal
import sys
import threading
from collections.abc import Sequence

from pydantic import BaseModel

from pawl_shared import logging
from pawl_shared.buses.kafka_bus import KafkaBus
from pawl_shared.events import Event, PauseCommand, Tick
from pawl_shared.ids import derived_id
from pawl_shared.running.fold import Delivery, Step
from pawl_shared.running.runner import Runner
from pawl_shared.stores.kafka import KafkaStore
from pawl_shared.topics import EVIDENCE, TOPICS, state_topic

# The shortest that a broker allows by default.
QUICK = {"session.timeout.ms": 6_000, "heartbeat.interval.ms": 2_000}


class Count(BaseModel):
    n: int = 0


class Echo:
    """Counts ticks by model; the count stands in what is sent."""

    name = "echo"
    topics = (EVIDENCE.name,)
    state = Count

    def __init__(self, service: str) -> None:
        self._service = service

    def keys(self, event: Event) -> Sequence[str]:
        return [event.model] if isinstance(event, Tick) and event.model.startswith(self._service) else []

    def step(self, key: str, state: Count | None, delivery: Delivery) -> Step[Count]:
        tick = delivery.event
        assert isinstance(tick, Tick)
        n = (state.n if state else 0) + 1
        echo = PauseCommand(
            id=derived_id(tick.id, "echo"),
            time=tick.time,
            source=self._service,
            model=key,
            who=f"{tick.number}",
            why=f"{n}",
        )
        return Step(Count(n=n), events=(echo,))


def main(servers: str, service: str) -> None:
    logging.configure(service)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    bus, topic = KafkaBus(servers, QUICK), state_topic(service)
    bus.create_topics([*TOPICS, topic])
    store = KafkaStore(bus, service, topic, [EVIDENCE.name])
    Runner(service, service, "0", bus, store, [Echo(service)]).run(stop)


if __name__ == "__main__":
    main(*sys.argv[1:])
