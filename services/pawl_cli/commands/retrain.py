"""`pawl retrain`: a person asks for a training run."""

from typing import Annotated

import typer

from pawl_cli.commands.asked import AskedOf, asking
from pawl_cli.commands.common import print_json, told
from pawl_cli.log import policies
from pawl_shared.events import RetrainCommand
from pawl_shared.recipes import RecipeChoice

Recipe = Annotated[RecipeChoice, typer.Option("--recipe", help="What trains it; auto: what the feedback suits.")]


@asking
def retrain(asked: AskedOf, recipe: Recipe = "auto") -> None:
    """Ask for a training run without an alarm, on the feedback of the last seven days.

    It begins when the model's policy allows it: with enough feedback, nothing in progress, the cooldown over, the
    budget not spent, the loop not paused. `pawl status` tells what is still missing. While an alarm is open, that stays
    the reason, and the recipe is that of its next run. What comes of it passes the same gates and the same trial.

    Example:  pawl retrain --recipe dpo --why "200 corrections by the support team"
    """
    with told():
        bus, model = asked.bus(), asked.model
        policies.registered(bus, model)
        command = RetrainCommand(**asked.envelope(model), recipe=recipe)
        policies.publish(bus, command)
        if asked.json:
            told_back = {"id": command.id, "model": model, "recipe": recipe, "who": command.who, "why": command.why}
            print_json(told_back)
            return
        typer.echo(f"A run of {model} is asked for: `pawl status` tells what it waits for.")
