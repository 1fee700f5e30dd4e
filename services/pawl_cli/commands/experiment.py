"""`pawl experiment`: versions, settings and system prompts compared on live traffic."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from pawl_cli.commands.asked import Asked, AskedOf, asking
from pawl_cli.commands.cluster import bus_at
from pawl_cli.commands.common import DEFAULT_DATA, AsJson, Data, Model, Servers, print_json, told
from pawl_cli.commands.deployment import Wait, deployed, send
from pawl_cli.log import experiments
from pawl_cli.log.experiments import Standing
from pawl_cli.log.follow import history
from pawl_shared.errors import ConfigurationError, PawlError
from pawl_shared.events import StartExperimentCommand, StopExperimentCommand
from pawl_shared.policies.values import DEFAULT_MODEL
from pawl_shared.topics import DEPLOYMENTS, MODELS

experiment_app = typer.Typer(
    help="Compare versions, settings and system prompts on live traffic.", no_args_is_help=True
)

File = Annotated[Path, typer.Argument(help="The experiment's file.")]


@experiment_app.command("init")
def init(
    file: File = Path("experiment.yaml"),
    model: Model = DEFAULT_MODEL,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")] = False,
) -> None:
    """Write an experiment's file with every key and what it stands for.

    Example:  pawl experiment init friendlier.yaml
    """
    with told():
        if file.exists() and not force:
            raise ConfigurationError(f"{file} is there already: give another name, or --force to overwrite it")
        file.write_text(experiments.EXAMPLE.format(model=model), encoding="utf-8")
        typer.echo(f"Wrote {file}. Change it, then: pawl experiment start {file}")


@experiment_app.command("start")
@asking
def start(asked: Asked, file: File = Path("experiment.yaml"), wait: Wait = 30) -> None:
    """Let the arms of an experiment answer. One runs at a time, and none beside a canary; new candidates wait.

    Waits until the validator has decided and every replica that lives has reported. Exit status: 0 all have, 1 it was
    refused or nobody answered, 3 it is decided and not all have.

    Example:  pawl experiment start friendlier.yaml --why "do people like it shorter?"
    """
    with told():
        spec = experiments.load(file)
        command = StartExperimentCommand(**asked.envelope(spec.model), experiment=spec)
        send(asked.bus(), command, wait, asked.json)


@experiment_app.command("stop")
@asking
def stop(asked: AskedOf, wait: Wait = 30) -> None:
    """End the experiment that runs: the champion alone answers again, and candidates that waited are tried.

    Exit status: as of `pawl experiment start`.

    Example:  pawl experiment stop --why "seen enough"
    """
    with told():
        bus = asked.bus()
        deployed(bus, asked.model)
        send(bus, StopExperimentCommand(**asked.envelope(asked.model)), wait, asked.json)


@experiment_app.command("status")
def status(
    name: Annotated[str, typer.Argument(help="An earlier one; by default the latest.")] = "",
    model: Model = DEFAULT_MODEL,
    data: Data = DEFAULT_DATA,
    kafka: Servers = "",
    json: AsJson = False,
) -> None:
    """Show what was seen of each arm, with intervals that hold however often one looks.

    Example:  pawl experiment status --json
    """
    with told():
        events = [seen.event for seen in history(bus_at(data, kafka), (DEPLOYMENTS, MODELS))]
        found = [one for one in experiments.standings(events, model) if name in ("", one.experiment.name)]
        if not found:
            raise PawlError(
                f"{model} had no experiment{f' of the name {name}' if name else ''}: `pawl experiment init` writes the "
                "file of one, `pawl experiment start` begins it"
            )
        if json:
            print_json(_plain(found[-1]))
        else:
            show(found[-1])


def show(standing: Standing) -> None:
    """For people."""
    console = Console(highlight=False)
    experiment = standing.experiment
    sessions = standing.report.sessions if standing.report else 0
    console.print(f"[bold]{experiment.name}[/]  {'over' if standing.ended else 'runs'}, {sessions} sessions")
    if standing.ended:
        console.print(f"  {standing.ended}", markup=False)
    console.print(experiments.table_of(standing))
    for sentence in experiments.sentences(standing):
        console.print(sentence, markup=False)


def _plain(standing: Standing) -> dict[str, Any]:
    report = standing.report
    return {
        "experiment": standing.experiment.model_dump(mode="json"),
        "running": not standing.ended,
        "ended": standing.ended,
        "report": report.model_dump(mode="json") if report else None,
    }
