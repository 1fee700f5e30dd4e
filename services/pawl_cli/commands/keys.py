"""`pawl keys`: who may ask the services for what."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from pawl_cli import api_keys
from pawl_cli.api_keys import ApiKeyError, KeyStore, Made
from pawl_cli.commands.common import DEFAULT_DATA, AsJson, Data, keys_file, print_json, told
from pawl_shared.access.api_keys import SCOPES, ApiKey
from pawl_shared.clock import SystemClock

keys_app = typer.Typer(
    help="API keys: who may ask the services for what. A change is valid at once, without a restart.",
    no_args_is_help=True,
)
File = Annotated[
    Path | None,
    typer.Option("--file", help="The file of keys; by default DATA/keys/api.keys.", envvar="PAWL_API_KEYS_FILE"),
]
Scopes = Annotated[
    list[str],
    typer.Option(
        "--scope",
        help="What it opens, once for each: infer (answers, models), feedback, ops (metrics, looking at the console), "
        "admin (ops, and judging and backups).",
    ),
]
Which = Annotated[str, typer.Argument(help="Its name or id, from `pawl keys list`.")]


@keys_app.command("create")
def create(
    name: Annotated[str, typer.Option("--name", help="What it is for; shown in lists.")],
    scope: Scopes,
    expires: Annotated[str, typer.Option("--expires", help="How long it lives, such as 90d; else for ever.")] = "",
    data: Data = DEFAULT_DATA,
    file: File = None,
    json: AsJson = False,
) -> None:
    """Make a key and show it once: only its hash is kept. From the first one on, services ask for keys.

    Example:  pawl keys create --name shop --scope infer --scope feedback --expires 90d
    """
    with told():
        if wrong := [each for each in scope if each not in SCOPES]:
            raise ApiKeyError(f"{wrong[0]!r} is no scope: there are {', '.join(SCOPES)}")
        scopes = tuple(each for each in SCOPES if each in scope)
        show_once(KeyStore(keys_file(data, file)).create(name, scopes, api_keys.lifetime(expires)), json)


@keys_app.command("list")
def list_keys(data: Data = DEFAULT_DATA, file: File = None, json: AsJson = False) -> None:
    """List the keys: names, scopes, times. The keys themselves are kept nowhere.

    Example:  pawl keys list
    """
    with told():
        path, now = keys_file(data, file), SystemClock().now()
        keys = KeyStore(path).all()
        if json:
            print_json([_plain(key, now) for key in keys])
            return
        console = Console(highlight=False)
        if not keys:
            asked = "services let nobody in" if path.exists() else "whoever is on this machine may ask for everything"
            console.print(f"No keys in {path}: {asked}.", markup=False)
            return
        table = Table("id", "name", "scopes", "created", "expires", "", box=None, pad_edge=False)
        for key in keys:
            ends = _day(key.expires) if key.expires else "never"
            table.add_row(key.id, key.name, ", ".join(key.scopes), _day(key.created), ends, api_keys.status(key, now))
        console.print(table, markup=False)


@keys_app.command("rotate")
def rotate(
    key: Which,
    grace: Annotated[str, typer.Option("--grace", help="How long the old secret goes on; 0s: not at all.")] = "1d",
    data: Data = DEFAULT_DATA,
    file: File = None,
    json: AsJson = False,
) -> None:
    """Give a key a new secret and show it once; the old one works until the grace period is over.

    Rotating again within that time ends the oldest one at once.

    Example:  pawl keys rotate shop --grace 2h
    """
    with told():
        show_once(KeyStore(keys_file(data, file)).rotate(key, api_keys.span(grace)), json)


@keys_app.command("revoke")
def revoke(key: Which, data: Data = DEFAULT_DATA, file: File = None, json: AsJson = False) -> None:
    """Take a key away: it opens nothing from now on, and who is logged in with it is out.

    Example:  pawl keys revoke shop
    """
    with told():
        gone = KeyStore(keys_file(data, file)).revoke(key)
        if json:
            print_json(_plain(gone, SystemClock().now()))
        else:
            typer.echo(f"Revoked {gone.name} ({gone.id}).")


def show_once(made: Made, json: bool) -> None:
    """The only time that the key itself is seen."""
    now = SystemClock().now()
    if json:
        print_json({**_plain(made.key, now), "key": made.text})
        return
    typer.echo(made.text)
    ends = f", until {_day(made.key.expires)}" if made.key.expires else ""
    typer.echo(f"{made.key.name} ({made.key.id}) opens {', '.join(made.key.scopes)}{ends}.", err=True)
    if len(made.key.secrets) > 1 and made.key.secrets[1].until:
        typer.echo(f"The old secret works until {made.key.secrets[1].until:%Y-%m-%d %H:%M} UTC.", err=True)
    typer.echo("Keep it now: it is shown this once.", err=True)


def _plain(key: ApiKey, now: datetime) -> dict[str, Any]:
    """Without the hashes, which are of no use to anybody who reads this."""
    return {**key.model_dump(mode="json", exclude={"secrets"}), "status": api_keys.status(key, now)}


def _day(time: datetime | None) -> str:
    return f"{time:%Y-%m-%d %H:%M}" if time else ""
