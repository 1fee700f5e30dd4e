"""`pawl retrain`: a person asks for a training run."""

import typer

from pawl_cli.commands.asked import AskedOf, asking
from pawl_cli.commands.common import print_json, told
from pawl_cli.log import policies
from pawl_shared.errors import PawlError
from pawl_shared.events import RetrainCommand


@asking
def retrain(asked: AskedOf) -> None:
    """Ask for a training run without an alarm, on the feedback of the last seven days.

    It begins when the model's policy allows it: with enough feedback, nothing in progress, the cooldown over, the
    budget not spent, the loop not paused. `pawl status` tells what is still missing. While an alarm is open, that stays
    the reason. What comes of it passes the same gates and the same trial.

    Example:  pawl retrain --why "200 corrections by the support team"
    """
    with told():
        bus, model = asked.bus(), asked.model
        if policies.known(bus, model).base is None:
            raise PawlError(f"nothing is known of the model {model!r}: name it with --model")
        command = RetrainCommand(**asked.envelope(model))
        policies.publish(bus, command)
        if asked.json:
            print_json({"id": command.id, "model": model, "who": command.who, "why": command.why})
            return
        typer.echo(f"A run of {model} is asked for: `pawl status` tells what it waits for.")
