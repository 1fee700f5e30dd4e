"""`pawl policy simulate`: a policy tried on the log before it is applied."""

import json as json_text
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from pawl_cli import model_file
from pawl_cli.commands.common import DEFAULT_DATA, AsJson, Data, errors, print_json, running, told
from pawl_cli.commands.model import File
from pawl_cli.commands.monitor import monitor_of
from pawl_cli.log import replay as replays
from pawl_cli.log.story import short

policy_app = typer.Typer(help="Policies tried on the log (see also `pawl model`).", no_args_is_help=True)
MARKS = {"alarm": "alarm", "resolved": "resolved", "waiting": "waits", "fired": "FIRES"}


@policy_app.callback()
def policy() -> None:
    """Policies tried on the log (see also `pawl model`)."""


@policy_app.command("simulate")
def simulate(
    file: File = Path("model.yaml"),
    every: Annotated[bool, typer.Option("--all", help="Also show what a run would have waited for.")] = False,
    data: Data = DEFAULT_DATA,
    json: AsJson = False,
) -> None:
    """Try the detectors and triggers of a model.yaml on the log: which alarms there would have been, when a run would
    have been asked for, and why. Nothing is published.

    The evidence is that of the versions that served. What the policy's own runs would have led to nobody knows: each
    is taken to be over at once, and to answer what asked for it.

    Example:  pawl policy simulate model.yaml --all
    """
    with told():
        policy, note = model_file.load(file), running(data)
        feedback = monitor_of(note, data).usable(policy.model, policy.triggers.heldout_share)
        environment = note.environment | {
            "PAWL_KAFKA_BOOTSTRAP_SERVERS": note.kafka,
            "PAWL_DATA_DIR": str(data.expanduser().absolute()),
        }
        with errors.status("reading the log") as status, tempfile.TemporaryDirectory() as folder:

            def progress(_: str, records: int) -> None:
                status.update(f"{records:,} records")

            given = Path(folder) / "simulation.json"
            given.write_text(json_text.dumps({"policy": policy.model_dump(mode="json"), "feedback": feedback}))
            report = replays.run("monitor", environment, progress, "pawl_{}.simulate", [str(given)])
        if json:
            print_json(report)
            return
        console = Console(highlight=False)
        for line in lines_of(report, every):
            console.print(line, markup=False)


def lines_of(report: dict[str, Any], every: bool) -> Iterator[str]:
    """A simulation, for people."""
    for happening in report["happenings"]:
        if every or happening["what"] != "waiting":
            at = datetime.fromisoformat(happening["at"])
            yield f"{at:%Y-%m-%d %H:%M:%S}  {MARKS[happening['what']]:<9} {happening['sentence']}"
    logged = report["logged"]
    yield (
        f"Policy {short(report['digest'])} of {report['model']} on {report['records']:,} records: it would have fired "
        f"{_times(report['fired'])}, after {_alarms(report['alarms'])}."
    )
    yield (
        f"The log has {logged['fired']} requests for training and {_alarms(logged['alarms'])}, "
        "under the policies of their time. Nothing was published."
    )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _alarms(count: int) -> str:
    return "1 alarm" if count == 1 else f"{count} alarms"
