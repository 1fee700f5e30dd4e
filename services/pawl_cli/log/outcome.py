"""What becomes of a command: the deployment that it brings about or the reason why not, and which replicas follow.

The log is read from where it ends before the command is sent, so that nothing of its outcome can be missed.
"""

import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from pawl_cli.log import policies
from pawl_shared.buses.port import Bus, Record
from pawl_shared.codec import decode
from pawl_shared.errors import DecodeError, PawlError
from pawl_shared.events import Command, DeadLetter, DeploymentChanged, Event, ReplicaReported
from pawl_shared.topics import DEAD_LETTERS, REPLICAS, topic_of

LOOK_SECONDS = 0.05
# A replica reports every 20 s (pawl_inference): who was silent for so long, by the broker's clock, is not waited for.
SILENT = timedelta(seconds=60)


class CommandRefusedError(PawlError):
    """The validator does not follow a command; the message is its reason."""


class NoAnswerError(PawlError):
    """Nobody has carried out a command yet."""


@dataclass
class Following:
    """Where each replica is with one deployment; names, with a reason where it is bad news."""

    revision: int
    there: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    gone: dict[str, str] = field(default_factory=dict)


Told = Callable[[str], None]


def carried_out(
    bus: Bus,
    command: Command,
    patience: float,
    send: Callable[[], None] | None = None,
    answers: tuple[type[Event], ...] = (DeploymentChanged,),
) -> Record:
    """Send a command, and wait for the record of what it caused.

    Args:
        send: puts it on the log by another way.
        answers: types of the events that tell that it is carried out.

    Raises:
        CommandRefusedError: it cannot be followed.
        NoAnswerError: nothing has come of it within `patience` seconds. It stands on the log all the same.
        BusError: the broker does not answer.
    """
    topics = {topic_of(answer).name: None for answer in answers}
    with ExitStack() as resources:
        send = send or partial(resources.enter_context(policies.publishing(bus)), command)
        tails = [bus.read(topic, _never, LOOK_SECONDS, tail=True) for topic in (*topics, DEAD_LETTERS.name)]
        for tail in tails:
            next(tail)  # stands at the end
        send()
        for record in _until(time.monotonic() + patience, tails):
            event = _event(record)
            if isinstance(event, answers) and event.cause == command.id:
                return record
            if isinstance(event, DeadLetter) and _is_about(event, command):
                raise CommandRefusedError(event.reason.partition("Error: ")[2] or event.reason)
    raise NoAnswerError(f"the validator has not answered for {patience:.0f} s")


def followed(bus: Bus, changed: Record, patience: float, told: Told = lambda _: None) -> Following:
    """Wait until every replica that lives has reported a deployment; answers who has, who has not, and who is gone."""
    event = _event(changed)
    assert isinstance(event, DeploymentChanged), "the record of a deployment"
    reports: dict[str, tuple[datetime, ReplicaReported]] = {}
    give_up = time.monotonic() + patience
    for record in bus.read(REPLICAS.name, _never, LOOK_SECONDS):
        if record is not None:
            if isinstance(report := _event(record), ReplicaReported):
                reports[report.replica] = record.appended, report
            continue
        following = _place(event, changed.appended, reports)
        told(f"{len(following.there)} of {len(following.there) + len(following.missing)} replicas")
        if not following.missing or time.monotonic() > give_up:
            return following
    raise AssertionError("a reader that nobody stops goes on")


def _never() -> bool:
    return False


def _place(changed: DeploymentChanged, at: datetime, reports: dict[str, tuple[datetime, ReplicaReported]]) -> Following:
    found = Following(changed.revision)
    for name, (heard, report) in sorted(reports.items()):
        if report.stopped:
            continue
        revision = report.applied.get(changed.model, 0)
        if revision >= changed.revision:
            found.there.append(name)
        elif at - heard > SILENT:
            found.gone[name] = f"not heard of since {heard:%Y-%m-%d %H:%M:%S} UTC"
        else:
            found.missing[name] = "; ".join(report.problems) or f"it is at revision {revision}"
    return found


def _until(give_up: float, tails: list[Iterator[Record | None]]) -> Iterator[Record]:
    """Records of all of these, looking at one after the other."""
    while time.monotonic() < give_up:
        for tail in tails:
            for record in tail:
                if record is None:
                    break
                yield record


def _event(record: Record) -> Event | None:
    try:
        return decode(record)
    except DecodeError:
        return None


def _is_about(letter: DeadLetter, command: Command) -> bool:
    return b64decode(letter.record_headers.get("ce_id", "")) == str(command.id).encode()
