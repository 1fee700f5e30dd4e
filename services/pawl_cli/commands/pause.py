"""`pawl pause` and `pawl resume`: whether the loop may act by itself."""

from pathlib import Path
from uuid import uuid4

import typer

from pawl_cli import policies
from pawl_cli.commands.common import (
    DEFAULT_DATA,
    AsJson,
    Data,
    Model,
    Servers,
    Who,
    Why,
    bus_at,
    print_json,
    told,
    user,
)
from pawl_cli.stack import DEFAULT_MODEL
from pawl_shared.clock import SystemClock
from pawl_shared.errors import PawlError
from pawl_shared.events import PauseCommand


def pause(
    why: Why = "",
    model: Model = DEFAULT_MODEL,
    who: Who = "",
    data: Data = DEFAULT_DATA,
    kafka: Servers = "",
    json: AsJson = False,
) -> None:
    """Stop the loop: no run is asked for, no canary begins, nothing is promoted by itself.

    Answers go on, feedback is kept, alarms are raised, and a canary that does harm is still rolled back.

    Example:  pawl pause --why "campaign until Monday"
    """
    _command(True, model, who, why, data, kafka, json)


def resume(
    why: Why = "",
    model: Model = DEFAULT_MODEL,
    who: Who = "",
    data: Data = DEFAULT_DATA,
    kafka: Servers = "",
    json: AsJson = False,
) -> None:
    """Let the loop go on, also after it has paused itself; refused candidates are then counted from zero.

    Example:  pawl resume --why "the campaign is over"
    """
    _command(False, model, who, why, data, kafka, json)


def _command(paused: bool, model: str, who: str, why: str, data: Path, kafka: str, json: bool) -> None:
    with told():
        bus = bus_at(data, kafka)
        if policies.known(bus, model).base is None:
            raise PawlError(f"nothing is known of the model {model!r}: name it with --model")
        command = PauseCommand(
            id=uuid4(),
            time=SystemClock().now(),
            source=policies.SOURCE,
            model=model,
            who=who or user(),
            why=why,
            paused=paused,
        )
        policies.publish(bus, command)
        if json:
            print_json({"id": command.id, "model": model, "paused": paused, "who": command.who, "why": why})
            return
        typer.echo(f"The loop of {model} is paused: `pawl resume` lets it go on." if paused else f"{model} goes on.")
