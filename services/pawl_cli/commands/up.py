"""`pawl up`: everything on this machine, until Ctrl-C."""

import time
from typing import Annotated

import typer

from pawl_cli.commands.common import DEFAULT_DATA, FAILED, Data, Model, told
from pawl_cli.stack import DEFAULT_MODEL, KNOWN_PORTS, Options, Stack, running
from pawl_cli.terminal import Terminal

Kafka = Annotated[
    str,
    typer.Option("--kafka-bootstrap-servers", help="Use this cluster, host:port[,host:port], not the embedded one."),
]
Base = Annotated[str, typer.Option("--base", help="Base model: built-in name, hub id, local folder, or GGUF file.")]


def up(
    data: Data = DEFAULT_DATA, model: Model = DEFAULT_MODEL, base: Base = "smollm2-135m-instruct", kafka: Kafka = ""
) -> None:
    """Run Kafka and all services on this machine until Ctrl-C; data is kept.

    Example:  pawl up --data ./pawl-data
    """
    options = Options(data.expanduser().absolute(), model, base, kafka, KNOWN_PORTS)
    with told(), Terminal() as terminal, running(options, terminal.step) as stack:
        terminal.done()
        announce(terminal, stack)
        while True:
            for happening in stack.poll():
                terminal.line(happening.unit, happening.text, "bad")
                if happening.final:
                    terminal.line("pawl", f"Stopping, since {happening.unit} is gone. Logs: {data / 'logs'}", "bad")
                    raise typer.Exit(FAILED)
            time.sleep(0.2)


def announce(terminal: Terminal, stack: Stack) -> None:
    """Where everything is."""
    terminal.line("pawl", "Ready.", "good")
    terminal.line("pawl", f"Console    {stack.urls['monitor']}")
    terminal.line("pawl", f"OpenAI API {stack.urls['inference']}/v1   (model: {stack.options.model})")
    terminal.line("pawl", f"Data       {stack.options.data}   Ctrl-C stops everything; the data stays.")
