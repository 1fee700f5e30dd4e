"""A group of commands whose modules are imported when a command is given, not when all of them are listed.

All of them together take 0.4 s of processor time to import, before anything that was asked for begins.
"""

import re
from collections.abc import Mapping
from importlib import import_module
from inspect import getdoc
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group

# By the heading under which they are listed and by their names: `module:name` of a function or a Typer app in
# pawl_cli.commands, and what it is for.
Commands = Mapping[str, Mapping[str, tuple[str, str]]]


def app_of(commands: Commands, help: str) -> typer.Typer:
    """A Typer app of these commands, in their order."""
    places = {name: place for section in commands.values() for name, (place, _) in section.items()}

    class OnDemand(TyperGroup):
        def resolve_command(self, ctx: Any, args: list[str]) -> Any:
            name, _, rest = super().resolve_command(ctx, args)
            return name, loaded(places[str(name)]), rest

    app = typer.Typer(
        cls=OnDemand, help=help, no_args_is_help=True, add_completion=False, pretty_exceptions_show_locals=False
    )
    for heading, section in commands.items():
        for name, (_, purpose) in section.items():
            app.command(name, help=purpose, rich_help_panel=heading)(_not_loaded)
    return app


def loaded(place: str) -> Any:
    """The command there, or the group of commands, as Typer makes it of a function or an app."""
    module, _, name = place.partition(":")
    found = getattr(import_module(f"pawl_cli.commands.{module}"), name)
    if isinstance(found, typer.Typer):
        _reflow(found)
        return get_group(found)
    single = typer.Typer(add_completion=False)
    single.command()(found)
    _reflow(single)
    return get_command(single)


def _not_loaded() -> None:
    """Stands for every command while all of them are listed."""


def _reflow(group: typer.Typer) -> None:
    """Docstrings end their lines where the code does; Typer would show these ends amid the lines of a terminal."""
    for command in group.registered_commands:
        command.help = re.sub(r"(?<!\n)\n(?!\n)", " ", getdoc(command.callback) or "")
