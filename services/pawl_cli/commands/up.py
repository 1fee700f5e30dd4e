"""`pawl up`: everything on this machine, until Ctrl-C."""

import re
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from pawl_cli.commands.common import DEFAULT_DATA, FAILED, Data, told, user
from pawl_cli.log import policies
from pawl_cli.log.story import short
from pawl_cli.model_file import WatchedFile
from pawl_cli.running.stack import KNOWN_PORTS, Options, Stack, Wanted, running
from pawl_cli.terminal import Terminal
from pawl_shared.errors import ConfigurationError, PawlError
from pawl_shared.policies.values import DEFAULT_MODEL

Kafka = Annotated[
    str,
    typer.Option("--kafka-bootstrap-servers", help="Use this cluster, host:port[,host:port], not the embedded one."),
]
Base = Annotated[str, typer.Option("--base", help="Base model: built-in name, hub id, local folder, or GGUF file.")]


Models = Annotated[
    list[str] | None, typer.Option("--model", help="A route name that apps ask for, tenant/name; for each model one.")
]
Policies = Annotated[
    list[Path] | None,
    typer.Option(
        "--policy", help="A model.yaml, applied at the start and whenever it changes (see `pawl model`); one a model."
    ),
]
NAME = re.compile(r"[^\s/]+/[^\s/]+")


def up(
    data: Data = DEFAULT_DATA,
    model: Models = None,
    base: Base = "smollm2-135m-instruct",
    policy: Policies = None,
    kafka: Kafka = "",
) -> None:
    """Run Kafka and all services on this machine until Ctrl-C; data is kept.

    Several models share the base, its memory and the trainer; each has its own policy, detectors, runs, canary and
    pause.

    Example:  pawl up --data ./pawl-data --policy model.yaml

    Example:  pawl up --policy assistant.yaml --policy shop.yaml --model default/draft
    """
    with told(), ExitStack() as resources:
        files = [WatchedFile(path) for path in policy or ()]
        models = wanted(model or (), files)
        options = Options(data.expanduser().absolute(), models, base, kafka, KNOWN_PORTS)
        terminal = resources.enter_context(Terminal())
        stack = resources.enter_context(running(options, terminal.step))
        terminal.done()
        announce(terminal, stack)
        while True:
            for file in files:
                follow_file(file, stack, terminal)
            for happening in stack.poll():
                terminal.line(happening.unit, happening.text, "bad")
                if happening.final:
                    terminal.line("pawl", f"Stopping, since {happening.unit} is gone. Logs: {data / 'logs'}", "bad")
                    raise typer.Exit(FAILED)
            time.sleep(0.2)


def wanted(names: Iterable[str], files: Iterable[WatchedFile]) -> tuple[Wanted, ...]:
    """The models that are named, by themselves or by their policies; none: the default one.

    Raises:
        ConfigurationError: a name is none, or two files are of one model.
    """
    found: dict[str, Wanted] = {}
    for file in files:
        name = file.policy.model
        if name in found:
            raise ConfigurationError(f"{file.path} is of {name}, of which there is a policy already: one a model")
        found[name] = Wanted(name, file.policy)
    for name in names:
        if not NAME.fullmatch(name):
            raise ConfigurationError(f"{name!r} is no model: write tenant/name, such as {DEFAULT_MODEL}")
        found.setdefault(name, Wanted(name))
    return tuple(found.values()) or (Wanted(),)


def follow_file(file: WatchedFile, stack: Stack, terminal: Terminal) -> None:
    """Apply a model.yaml that was changed; one with mistakes changes nothing, and is told once."""
    try:
        changed = file.changed()
        if changed and policies.apply(stack.bus, changed, user(), f"{file.path.name} was changed").configured:
            terminal.line("pawl", f"Policy {short(changed.digest)} of {changed.model} is valid from now on.", "good")
    except PawlError as error:
        terminal.line("pawl", f"{error} (the policy before stays valid; save the file to try again)", "bad")


def announce(terminal: Terminal, stack: Stack) -> None:
    """Where everything is."""
    terminal.line("pawl", "Ready.", "good")
    terminal.line("pawl", f"Console    {stack.urls['monitor']}")
    terminal.line(
        "pawl",
        f"OpenAI API {stack.urls['inference']}/v1   (model: {', '.join(each.model for each in stack.options.models)})",
    )
    if stack.key:
        terminal.line("pawl", "API keys   are asked for: `pawl keys list` shows them, `pawl keys create` makes one")
    terminal.line("pawl", f"Data       {stack.options.data}   Ctrl-C stops everything; the data stays.")
