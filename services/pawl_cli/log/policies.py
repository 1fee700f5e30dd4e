"""Policies of models on pawl.commands: which are valid, and putting another one there."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from pawl_cli.log.follow import everything, history
from pawl_shared.buses.port import Bus
from pawl_shared.clock import SystemClock
from pawl_shared.codec import encode
from pawl_shared.errors import BusError, PawlError
from pawl_shared.events import ConfigureModelCommand, Event, ModelRegistered, RegisterModelCommand
from pawl_shared.policies.model_policy import ModelPolicy
from pawl_shared.topics import COMMANDS, MODELS

SOURCE = "pawl-cli"
WAIT_SECONDS = 30


class UnknownModelError(PawlError):
    """Nobody has asked for a model of this name."""


@dataclass(frozen=True)
class Known:
    """What was asked for a model: its policies in their order, each with when it became valid, and the last base, with
    the id of the command that asked for it."""

    policies: tuple[tuple[datetime, ConfigureModelCommand], ...] = ()
    base: str | None = None
    asked: UUID | None = None

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
    bases = [event for _, event in commands if isinstance(event, RegisterModelCommand)]
    policies = tuple((at, event) for at, event in commands if isinstance(event, ConfigureModelCommand))
    return Known(policies, bases[-1].base, bases[-1].id) if bases else Known(policies)


def registered(bus: Bus, model: str) -> None:
    """Raises UnknownModelError, which names the models that there are, and BusError."""
    events = [seen.event for seen in history(bus, [COMMANDS])]
    models = sorted({event.model for event in events if isinstance(event, RegisterModelCommand)})
    if model not in models:
        raise UnknownModelError(f"nothing is known of {model}: --model may be {', '.join(models) or 'nothing yet'}")


def apply(bus: Bus, policy: ModelPolicy, who: str, why: str) -> Applied:
    """Make a policy valid, unless it is; and ask for its base, unless that was asked for last and was brought in."""
    before = known(bus, policy.model)
    configured = apply_policy(bus, policy, before, who, why)
    base = policy.base
    if base == before.base and _brought_in(bus, before.asked):
        base = None
    if base is not None:
        now = SystemClock().now()
        publish(
            bus,
            RegisterModelCommand(id=uuid4(), time=now, source=SOURCE, model=policy.model, base=base, who=who, why=why),
        )
    return Applied(configured, base)


def _brought_in(bus: Bus, asked: UUID | None) -> bool:
    """Whether the base that a command asked for was registered. One that failed has nothing on the log, nor has one
    that is still exported: asked for twice, it is registered once."""
    return any(isinstance(event, ModelRegistered) and event.cause == asked for event in everything(bus, MODELS))


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
