"""Policies of models on pawl.commands: which are valid, and putting another one there."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

from pawl_cli.log.follow import history
from pawl_shared.buses.port import Bus
from pawl_shared.clock import SystemClock
from pawl_shared.codec import encode
from pawl_shared.errors import BusError, PawlError
from pawl_shared.events import ConfigureModelCommand, Event, RegisterModelCommand
from pawl_shared.policies.model_policy import ModelPolicy
from pawl_shared.topics import COMMANDS

SOURCE = "pawl-cli"
WAIT_SECONDS = 30


class UnknownModelError(PawlError):
    """Nobody has asked for a model of this name."""


@dataclass(frozen=True)
class Known:
    """What was asked for a model: its policies in their order, each with when it became valid, and the last base."""

    policies: tuple[tuple[datetime, ConfigureModelCommand], ...] = ()
    base: str | None = None

    @property
    def valid(self) -> ConfigureModelCommand | None:
        """The policy that is valid now; none: Pawl's defaults are."""
        return self.policies[-1][1] if self.policies else None


@dataclass(frozen=True)
class Applied:
    """What apply() has published."""

    configured: bool
    base: str | None = None


def known(bus: Bus, model: str) -> Known:
    """What the log says of a model. Raises BusError."""
    commands = [(seen.at, seen.event) for seen in history(bus, [COMMANDS]) if getattr(seen.event, "model", "") == model]
    bases = [event.base for _, event in commands if isinstance(event, RegisterModelCommand)]
    policies = tuple((at, event) for at, event in commands if isinstance(event, ConfigureModelCommand))
    return Known(policies, bases[-1] if bases else None)


def registered(bus: Bus, model: str) -> None:
    """Raises UnknownModelError, which names the models that there are, and BusError."""
    events = [seen.event for seen in history(bus, [COMMANDS])]
    models = sorted({event.model for event in events if isinstance(event, RegisterModelCommand)})
    if model not in models:
        raise UnknownModelError(f"nothing is known of {model}: --model may be {', '.join(models) or 'nothing yet'}")


def apply(bus: Bus, policy: ModelPolicy, who: str, why: str) -> Applied:
    """Make a policy valid, unless it is; and ask for its base, where it names another one than was asked for last."""
    before = known(bus, policy.model)
    configured = apply_policy(bus, policy, before, who, why)
    base = policy.base if policy.base not in (None, before.base) else None
    if base is not None:
        now = SystemClock().now()
        publish(
            bus,
            RegisterModelCommand(id=uuid4(), time=now, source=SOURCE, model=policy.model, base=base, who=who, why=why),
        )
    return Applied(configured, base)


def apply_policy(bus: Bus, policy: ModelPolicy, before: Known, who: str, why: str) -> bool:
    """Make a policy valid; answers whether it was not already. Raises BusError."""
    if before.valid is not None and before.valid.digest == policy.digest:
        return False
    publish(bus, configure(policy, who, why))
    return True


def configure(policy: ModelPolicy, who: str, why: str) -> ConfigureModelCommand:
    """The command that makes a policy valid."""
    return ConfigureModelCommand(
        id=uuid4(),
        time=SystemClock().now(),
        source=SOURCE,
        model=policy.model,
        policy=policy,
        digest=policy.digest,
        who=who,
        why=why,
    )


def publish(bus: Bus, *events: Event) -> None:
    """Send events, and wait until the broker has them. Raises BusError."""
    with publishing(bus) as send:
        send(*events)


@contextmanager
def publishing(bus: Bus) -> Iterator[Callable[..., None]]:
    """A publish() whose client is connected while something else is done.

    A client that is given its first message before it is connected asks again for its id half a second later
    (librdkafka 2.16.0: 11 of 15; with a start of 5 ms or more none of 120).
    """
    producer = bus.producer(SOURCE)

    def send(*events: Event) -> None:
        for event in events:
            try:
                producer.send(encode(event)).result(timeout=WAIT_SECONDS)
            except TimeoutError as error:
                raise BusError(
                    f"Kafka has not confirmed the {event.TYPE} for {WAIT_SECONDS} s; it may still take it"
                ) from error

    try:
        yield send
    finally:
        producer.close()
