"""`pawl up`: everything on this machine, until Ctrl-C."""

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from pawl_cli import policies
from pawl_cli.commands.common import DEFAULT_DATA, FAILED, Data, Model, told, user
from pawl_cli.model_file import WatchedFile
from pawl_cli.stack import DEFAULT_MODEL, KNOWN_PORTS, Options, Stack, running
from pawl_cli.story import short
from pawl_cli.terminal import Terminal
from pawl_shared.errors import PawlError

Kafka = Annotated[
    str,
    typer.Option("--kafka-bootstrap-servers", help="Use this cluster, host:port[,host:port], not the embedded one."),
]
Base = Annotated[str, typer.Option("--base", help="Base model: built-in name, hub id, local folder, or GGUF file.")]


Policy = Annotated[
    Path | None,
    typer.Option("--policy", help="A model.yaml, applied at the start and whenever it changes (see `pawl model`)."),
]


def up(
    data: Data = DEFAULT_DATA,
    model: Model = DEFAULT_MODEL,
    base: Base = "smollm2-135m-instruct",
    policy: Policy = None,
    kafka: Kafka = "",
) -> None:
    """Run Kafka and all services on this machine until Ctrl-C; data is kept.

    Example:  pawl up --data ./pawl-data --policy model.yaml
    """
    with told(), ExitStack() as resources:
        file = WatchedFile(policy) if policy else None
        options = Options(
            data.expanduser().absolute(),
            file.policy.model if file else model,
            base,
            kafka,
            KNOWN_PORTS,
            policy=file.policy if file else None,
        )
        terminal = resources.enter_context(Terminal())
        stack = resources.enter_context(running(options, terminal.step))
        terminal.done()
        announce(terminal, stack)
        while True:
            if file:
                follow_file(file, stack, terminal)
            for happening in stack.poll():
                terminal.line(happening.unit, happening.text, "bad")
                if happening.final:
                    terminal.line("pawl", f"Stopping, since {happening.unit} is gone. Logs: {data / 'logs'}", "bad")
                    raise typer.Exit(FAILED)
            time.sleep(0.2)


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
    terminal.line("pawl", f"OpenAI API {stack.urls['inference']}/v1   (model: {stack.options.model})")
    terminal.line("pawl", f"Data       {stack.options.data}   Ctrl-C stops everything; the data stays.")
