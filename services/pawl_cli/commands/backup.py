"""`pawl backup` and `pawl restore`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pawl_cli.backups.files import Manifest
from pawl_cli.backups.make import Running, make
from pawl_cli.backups.restore import restore as restore_into
from pawl_cli.commands.cluster import bus_of
from pawl_cli.commands.common import DEFAULT_DATA, AsJson, Data, print_json, running, told
from pawl_cli.commands.monitor import monitor_of
from pawl_cli.running.data_folder import DataFolder
from pawl_cli.terminal import Terminal

Target = Annotated[Path, typer.Argument(help="The folder to write; new or empty.")]
Source = Annotated[Path, typer.Argument(help="The folder of a backup.")]
NoKeys = Annotated[
    bool,
    typer.Option("--no-keys", help="Leave the keys out; keep them elsewhere, since no text can be read without them."),
]


def backup(target: Target, data: Data = DEFAULT_DATA, no_keys: NoKeys = False, json: AsJson = False) -> None:
    """Copy everything that Pawl must not lose into a folder, while it runs.

    Example:  pawl backup /backups/2026-01-31 --data ./pawl-data
    """
    with told(), Terminal() as terminal:
        note = running(data)
        folder = data.expanduser().absolute()
        step = (lambda *_: None) if json else terminal.step
        pawl = Running(bus_of(note), monitor_of(note, data), folder, note.artifacts(folder))
        found = make(pawl, target.expanduser().absolute(), step, keys=not no_keys)
        terminal.done()
        _show(found, json, f"written to {target}")


def restore(source: Source, data: Data = DEFAULT_DATA, json: AsJson = False) -> None:
    """Fill a new data folder from a backup; `pawl up` then goes on from it.

    Example:  pawl restore /backups/2026-01-31 --data ./restored && pawl up --data ./restored
    """
    with told(), Terminal() as terminal, DataFolder(data) as folder:
        step = (lambda *_: None) if json else terminal.step
        found = restore_into(source.expanduser().absolute(), folder.path, step)
        terminal.done()
        _show(found, json, f"restored; start it with `pawl up --data {data}`")


def _show(manifest: Manifest, as_json: bool, words: str) -> None:
    if as_json:
        print_json({name: value for name, value in asdict(manifest).items() if name != "files"})
        return
    records = sum(manifest.records.values())
    typer.echo(f"{manifest.taken}: {records:,} records, {manifest.artifacts:,} artifacts, the database; {words}")
    for note in manifest.notes:
        typer.echo(note)
