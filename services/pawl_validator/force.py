"""`python -m pawl_validator.force COMMAND`: a rollback in the validator's place, when that is down or stuck.

It writes under the validator's own transactional id, so the broker fences a validator that is alive after all: that one
can commit nothing more, and ends. The rollback is the validator's own fold on the validator's own state; state,
deployment, command and the command's id are one transaction. Whoever takes over therefore reads a state that the log
agrees with, and knows the command when it meets it.

The validator may be behind: what it has not handled by now comes after this rollback, though it arrived before it. The
command says where that is (`forced`), and a replay carries it out there.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any
from uuid import UUID

from pawl_shared.buses.kafka_bus import KafkaBus
from pawl_shared.buses.port import Bus, Partition
from pawl_shared.codec import decode, encode
from pawl_shared.errors import DecodeError, FencedError, PawlError
from pawl_shared.events import (
    DeploymentChanged,
    Event,
    PinCommand,
    PromoteCommand,
    RollbackCommand,
    StartExperimentCommand,
)
from pawl_shared.running.fold import Delivery
from pawl_shared.running.folding import seen_as
from pawl_shared.stores.kafka import KafkaStore
from pawl_shared.stores.port import Commit, StateKey, StoredState
from pawl_shared.topics import BY_NAME, COMMANDS, DEPLOYMENTS, VALIDATOR_STATE
from pawl_validator.domain.canary import CanaryPolicy
from pawl_validator.domain.deployment import NO_WAY_BACK, RefusedError, still_there
from pawl_validator.handlers.folds import DeploymentFold
from pawl_validator.handlers.state import ModelState
from pawl_validator.settings import SERVICE, ValidatorSettings

ABOUT_WHO_SERVES = (PromoteCommand, RollbackCommand, PinCommand, StartExperimentCommand)


def force(bus: Bus, settings: ValidatorSettings, command: RollbackCommand) -> Sequence[Event]:
    """Roll back, and answer what was published: the command itself first.

    Raises:
        RefusedError: there is nothing to go back to, or it was something else that was to be taken away.
        FencedError: a validator has started meanwhile.
        BusError: the broker does not answer.
    """
    check(bus, command)
    store = KafkaStore(bus, SERVICE, VALIDATOR_STATE, DeploymentFold.topics, settings.kept_seen)
    try:
        store.open()
        read = [Partition(name, number) for name in DeploymentFold.topics for number in range(BY_NAME[name].partitions)]
        came_to = store.positions(read)
        places = {f"{part.topic}/{part.number}": at for part, at in came_to.items()}
        forced = command.model_copy(
            update={"forced": places, "overtakes": tuple(unhandled(bus, command.model, came_to))}
        )
        fold, key = DeploymentFold(CanaryPolicy(), command.source), StateKey(DeploymentFold.name, command.model)
        stored = store.load([key]).get(key)
        state = ModelState.model_validate_json(stored.value) if stored else None
        step = fold.step(command.model, state, Delivery(forced, forced.time, COMMANDS.name, 0, 0))
        assert step.state is not None, "a rollback forgets no model"
        events = (forced, *step.events)
        store.commit(
            Commit(
                states={key: StoredState(step.state.model_dump_json(), step.due)},
                seen=[seen_as(forced)],
                messages=[encode(event) for event in events],
                effects=step.effects,
            )
        )
        return events
    finally:
        store.close()


def check(bus: Bus, command: RollbackCommand) -> None:
    """Refuse by what serves what can be refused by that: opening the store ends a validator that may be healthy.

    Raises RefusedError, BusError.
    """
    changes: dict[str, list[DeploymentChanged]] = {}
    for record in bus.read(DEPLOYMENTS.name):
        with contextlib.suppress(DecodeError):
            if record is not None and isinstance(event := decode(record), DeploymentChanged):
                changes.setdefault(event.model, []).append(event)
    if command.model not in changes:
        there = ", ".join(sorted(changes)) or "no model at all"
        raise RefusedError(f"nothing is deployed as {command.model}: Pawl serves {there}")
    latest = changes[command.model][-1]
    if command.version is not None:
        still_there(command.version, latest.champion, latest.challenger)
    if latest.challenger is None and not earlier(changes[command.model]):
        raise RefusedError(NO_WAY_BACK)


def earlier(changes: Sequence[DeploymentChanged]) -> set[str]:
    """Versions that were champion before, less those that a rollback rejected: it spares the base alone."""
    rejected = {
        before.champion.version
        for before, after in pairwise(changes)
        if after.change == "rolled-back" and after.champion != before.champion and before.champion.slot_file
    }
    return {event.champion.version for event in changes} - rejected - {changes[-1].champion.version}


def unhandled(bus: Bus, model: str, came_to: Mapping[Partition, int]) -> Iterator[UUID]:
    """Commands about who serves this model that the validator has not come to: it would carry them out when it is back,
    on top of the rollback."""
    for record in bus.read(COMMANDS.name):
        if record is None or record.offset < came_to.get(Partition(record.topic, record.partition), 0):
            continue
        with contextlib.suppress(DecodeError):
            event = decode(record)
            forced = isinstance(event, RollbackCommand) and event.forced is not None
            if isinstance(event, ABOUT_WHO_SERVES) and event.model == model and not forced:
                yield event.id


def main(text: str) -> int:
    """Prints the DeploymentChanged as a line of JSON, or an error. Exit status: 0 done, 1 not."""
    settings = ValidatorSettings()
    try:
        command = RollbackCommand.model_validate_json(text)
        published = force(KafkaBus.of(settings), settings, command)
        changed = next(event for event in published if isinstance(event, DeploymentChanged))
        answer: dict[str, Any] = {"changed": changed.model_dump(mode="json")}
    except FencedError:
        answer = {"error": "a validator has started meanwhile: `pawl rollback` without --force reaches it"}
    except (PawlError, RefusedError, ValueError) as error:
        answer = {"error": str(error)}
    sys.stdout.write(json.dumps(answer) + "\n")
    return int("error" in answer)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
