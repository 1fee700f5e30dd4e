"""`pawl pause` and `pawl resume`: whether the loop may act by itself."""

import typer

from pawl_cli.commands.asked import AskedOf, asking
from pawl_cli.commands.common import print_json, told
from pawl_cli.log import policies
from pawl_shared.events import PauseCommand


@asking
def pause(asked: AskedOf) -> None:
    """Stop the loop: no run is asked for, no canary begins, nothing is promoted by itself.

    Answers go on, feedback is kept, alarms are raised, and a canary that does harm is still rolled back. A promotion
    that it earns meanwhile follows when the loop goes on.

    Example:  pawl pause --why "campaign until Monday"
    """
    _command(asked, paused=True)


@asking
def resume(asked: AskedOf) -> None:
    """Let the loop go on, also after it has paused itself; refused candidates are then counted from zero.

    Example:  pawl resume --why "the campaign is over"
    """
    _command(asked, paused=False)


def _command(asked: AskedOf, paused: bool) -> None:
    with told():
        bus, model = asked.bus(), asked.model
        policies.registered(bus, model)
        command = PauseCommand(**asked.envelope(model), paused=paused)
        policies.publish(bus, command)
        if asked.json:
            print_json({"id": command.id, "model": model, "paused": paused, "who": command.who, "why": command.why})
            return
        typer.echo(f"The loop of {model} is paused: `pawl resume` lets it go on." if paused else f"{model} goes on.")
