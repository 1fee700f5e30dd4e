"""What commands share: where a running Pawl is, JSON output, and errors as one sentence."""

import getpass
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from pawl_cli.running.note import RunningNote, read_note
from pawl_cli.running.signals import INTERRUPTED, stop_in_order
from pawl_shared.errors import PawlError
from pawl_shared.settings import default_data_dir

FAILED = 1

Data = Annotated[Path, typer.Option("--data", help="Folder for everything that is kept.", envvar="PAWL_DATA_DIR")]
Model = Annotated[str, typer.Option("--model", help="The route name that apps ask for, with its tenant.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Servers = Annotated[
    str,
    typer.Option(
        "--kafka-bootstrap-servers",
        help="The cluster; by default the one of the running `pawl up`, without one PAWL_KAFKA_BOOTSTRAP_SERVERS.",
    ),
]
Who = Annotated[str, typer.Option("--who", help="Who wants it; by default the user of this machine.")]
Why = Annotated[str, typer.Option("--why", help="Why, for those who look later.")]
DEFAULT_DATA = default_data_dir()

errors = Console(stderr=True, highlight=False)


class NotRunningError(PawlError):
    """No Pawl runs in the data folder."""


def running(data: Path) -> RunningNote:
    """Where the Pawl in this folder listens; without one, the cluster that the environment names.

    Raises NotRunningError, NoRightError.
    """
    note = read_note(folder_of(data))
    if note and note.kafka:
        return note
    if not (kafka := os.environ.get("PAWL_KAFKA_BOOTSTRAP_SERVERS", "")):
        raise NotRunningError(
            f"no Pawl runs on {data}: start it with `pawl up`, or name its folder with --data; or name a cluster in "
            "PAWL_KAFKA_BOOTSTRAP_SERVERS"
        )
    artifacts = os.environ.get("PAWL_ARTIFACT_URL", "")
    return RunningNote(0, kafka, environment={"PAWL_ARTIFACT_URL": artifacts} if artifacts else {})


def user() -> str:
    """Who asks: the user of this machine."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a user without a name
        return "unknown"


def folder_of(data: Path) -> Path:
    return data.expanduser().absolute()


def keys_file(data: Path, given: Path | None) -> Path:
    """The file of API keys: the given one, else that of the Pawl that runs in the folder, else the folder's own."""
    folder = folder_of(data)
    note = read_note(folder)
    if given is None and note and note.api_keys:
        return Path(note.api_keys)
    return given or folder / "keys" / "api.keys"


def print_json(content: Any) -> None:
    sys.stdout.write(json.dumps(content, indent=2, default=str) + "\n")


@contextmanager
def told() -> Iterator[None]:
    """Errors of Pawl and of this machine end the command with one sentence and status 1; Ctrl-C with 130."""
    try:
        with stop_in_order():
            yield
    except PawlError as error:
        errors.print(f"[red]pawl:[/] {escape(str(error))}", markup=True)
        raise typer.Exit(FAILED) from error
    except OSError as error:  # no right, no space: it names the file
        errors.print(f"[red]pawl:[/] {escape(str(error) or type(error).__name__)}", markup=True)
        raise typer.Exit(FAILED) from error
    except KeyboardInterrupt as interrupt:
        errors.print(f"pawl: stopped by {interrupt}")
        raise typer.Exit(INTERRUPTED) from interrupt
