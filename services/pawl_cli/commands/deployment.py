"""`pawl promote`, `rollback`, `pin`, `unpin`: who serves, by a person's word."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from pawl_cli.commands.asked import AskedOf, asking
from pawl_cli.commands.common import errors, print_json, running, told
from pawl_cli.log import outcome, undo, versions
from pawl_cli.log import replay as children
from pawl_cli.log.follow import history
from pawl_cli.log.outcome import Following, NoAnswerError
from pawl_cli.log.story import short, tell
from pawl_shared import events as e
from pawl_shared.buses.port import Bus, Record
from pawl_shared.codec import decode
from pawl_shared.topics import CANDIDATES, DEPLOYMENTS, MODELS

INCOMPLETE = 3
ON_THE_LOG = "the command stands on the log, and is carried out when it is back"
PERHAPS_ON_THE_LOG = "the command may be on the log already, and be carried out: `pawl models list` shows what serves"

Prefix = Annotated[str, typer.Argument(help="The version; its first digits are enough (`pawl models list`).")]
Wait = Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for the validator, then for the replicas.")]


@asking
def promote(version: Prefix, asked: AskedOf, wait: Wait = 30) -> None:
    """Make a version champion: the one on trial, one that passed the gates, or an earlier champion.

    Waits until the validator has decided and every replica that lives has reported. Exit status: 0 all have, 1 it was
    refused or nobody answered, 3 it is decided and not all have.

    Example:  pawl promote 3f9a --why "reviewed by hand"
    """
    with told():
        bus = asked.bus()
        found = find(bus, asked.model, version)
        send(bus, e.PromoteCommand(**asked.envelope(asked.model), version=found.version), wait, asked.json)


@asking
def rollback(
    asked: AskedOf,
    version: Annotated[
        str, typer.Argument(help="What to take away; by default the candidate on trial, without one the champion.")
    ] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Do without the validator, when it is down or stuck; it is fenced.")
    ] = False,
    wait: Wait = 30,
) -> None:
    """Undo the latest change: take the candidate on trial away, or without one bring the previous champion back.

    What is rolled back never serves again. A pin moves along to what serves then. It is refused where VERSION is not on
    trial, or champion without a trial, any more. The champion has to be named while an experiment runs (`pawl
    experiment stop` ends that and rejects nothing), and right after another rollback. With --force only Kafka and a
    replica need to live. Exit status: 0 all replicas that live have reported, 1 it was refused or nobody answered, 3 it
    is decided and not all have.

    Example:  pawl rollback --why "complaints about prices"
    """
    with told():
        bus, model = asked.bus(), asked.model
        away = find(bus, model, version).version if version else undo.taken_away(deployed(bus, model))
        command = e.RollbackCommand(**asked.envelope(model), version=away)
        send(bus, command, wait, asked.json, _environment(asked.data, asked.kafka) if force else None)


@asking
def pin(version: Prefix, asked: AskedOf, wait: Wait = 30) -> None:
    """Serve this version and stay on it: no candidate is tried, nothing is promoted, until `pawl unpin`.

    A candidate on trial is taken away and may be promoted later. Training goes on; what passes the gates waits.
    (`pawl pause` is the other way round: it stops training too, and lets a trial that runs go on.) Exit status: as of
    `pawl promote`.

    Example:  pawl pin 3f9a --why "until the fair is over"
    """
    with told():
        bus = asked.bus()
        found = find(bus, asked.model, version)
        send(bus, e.PinCommand(**asked.envelope(asked.model), version=found.version), wait, asked.json)


@asking
def unpin(asked: AskedOf, wait: Wait = 30) -> None:
    """Let the loop try and promote candidates again; the first that waits goes on trial.

    Example:  pawl unpin --why "the fair is over"
    """
    with told():
        bus = asked.bus()
        deployed(bus, asked.model)
        send(bus, e.PinCommand(**asked.envelope(asked.model)), wait, asked.json)


def known(bus: Bus, model: str) -> list[versions.Version]:
    """The versions of a model. Raises BusError."""
    seen = history(bus, (CANDIDATES, MODELS, DEPLOYMENTS))
    return versions.versions(each for each in seen if getattr(each.event, "model", "") == model)


def deployed(bus: Bus, model: str) -> e.DeploymentChanged:
    """What serves a model. Raises NothingToUndoError, BusError."""
    return undo.latest((seen.event for seen in history(bus, [DEPLOYMENTS])), model)


def find(bus: Bus, model: str, prefix: str) -> versions.Version:
    """The version that begins like that. Raises UnknownVersionError, BusError."""
    return versions.find(known(bus, model), model, prefix)


def _environment(data: Path, kafka: str) -> dict[str, str]:
    """Of a validator's module that runs as a child of ours."""
    given = {"PAWL_DATA_DIR": str(data.expanduser().absolute()), "PAWL_KAFKA_BOOTSTRAP_SERVERS": kafka}
    if kafka:
        return given
    note = running(data)
    return given | note.environment | {"PAWL_KAFKA_BOOTSTRAP_SERVERS": note.kafka}


def send(bus: Bus, command: e.Command, wait: float, json: bool, forced: dict[str, str] | None = None) -> None:
    """Send it, say what became of it, and end with the status that goes with that.

    Args:
        forced: the environment in which it is carried out without the validator; none: the validator does it.
    """

    def by_force() -> None:
        children.run(
            "validator", forced or {}, lambda *_: None, "pawl_{}.force", [command.model_dump_json()], "not rolled back"
        )

    with errors.status("waiting for the validator") as status:
        try:
            record = outcome.carried_out(bus, command, wait, by_force if forced else None)
        except NoAnswerError as error:
            raise NoAnswerError(f"{error}: {ON_THE_LOG}{_instead(command)}") from error
        except KeyboardInterrupt as interrupt:
            raise KeyboardInterrupt(f"{interrupt}; {PERHAPS_ON_THE_LOG}") from interrupt
        following = outcome.followed(bus, record, wait, lambda words: status.update(f"waiting for {words}"))
    if json:
        print_json(_plain(command, record, following))
    else:
        _show(record, following)
    raise typer.Exit(INCOMPLETE if following.missing else 0)


def _instead(command: e.Command) -> str:
    """What to do when nobody answers. It names the version: by then something else may be on trial."""
    if isinstance(command, e.RollbackCommand) and command.version is not None:
        return f"; `pawl rollback --force {short(command.version)}` does without it"
    return ""


def _plain(command: e.Command, record: Record, following: Following) -> dict[str, Any]:
    changed = decode(record).model_dump(mode="json")
    asked = {"id": command.id, "model": command.model, "who": command.who, "why": command.why}
    replicas = {"there": following.there, "missing": following.missing, "gone": following.gone}
    return {**asked, "changed": changed, "replicas": replicas}


def _show(record: Record, following: Following) -> None:
    console = Console(highlight=False)
    for line in tell(decode(record)):
        console.print(line.text, markup=False)
    there = ", ".join(following.there) or "no replica that lives"
    console.print(f"Revision {following.revision} is served by {there}.", markup=False)
    for name, why in following.missing.items():
        errors.print(f"{name} does not follow yet: {why}", markup=False, style="bold red")
    for name, why in following.gone.items():
        console.print(f"{name} is gone: {why}", markup=False, style="dim")
