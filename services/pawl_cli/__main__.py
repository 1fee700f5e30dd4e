"""The command line: `pawl --help`."""

import logging
import re
from inspect import getdoc

import typer

from pawl_cli.commands.approve import approve, reject
from pawl_cli.commands.backup import backup, restore
from pawl_cli.commands.dead_letters import dead_letters_app
from pawl_cli.commands.demo import demo
from pawl_cli.commands.deployment import pin, promote, rollback, unpin
from pawl_cli.commands.experiment import experiment_app
from pawl_cli.commands.explain import explain
from pawl_cli.commands.kafka import kafka, topics_app
from pawl_cli.commands.keys import keys_app
from pawl_cli.commands.model import model_app
from pawl_cli.commands.models import models_app
from pawl_cli.commands.pause import pause, resume
from pawl_cli.commands.policy import policy_app
from pawl_cli.commands.replay import replay
from pawl_cli.commands.retrain import retrain
from pawl_cli.commands.review import review_app
from pawl_cli.commands.status import status
from pawl_cli.commands.up import up

app = typer.Typer(
    help="Pawl closes the loop from production feedback to a better model, and never lets it slip back.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
for command in (
    up,
    demo,
    status,
    explain,
    promote,
    rollback,
    pin,
    unpin,
    approve,
    reject,
    retrain,
    pause,
    resume,
    replay,
    backup,
    restore,
    kafka,
):
    app.command()(command)
app.add_typer(model_app, name="model")
app.add_typer(models_app, name="models")
app.add_typer(policy_app, name="policy")
app.add_typer(experiment_app, name="experiment")
app.add_typer(topics_app, name="topics")
app.add_typer(review_app, name="review")
app.add_typer(dead_letters_app, name="dead-letters")
app.add_typer(keys_app, name="keys")


def _reflow(group: typer.Typer) -> None:
    """Docstrings end their lines where the code does; Typer would show these ends amid the lines of a terminal."""
    for command in group.registered_commands:
        command.help = re.sub(r"(?<!\n)\n(?!\n)", " ", getdoc(command.callback) or "")
    for inner in group.registered_groups:
        if inner.typer_instance is not None:
            _reflow(inner.typer_instance)


_reflow(app)


def main() -> None:
    """The entry point of the `pawl` script."""
    # The client reports every reconnect while a broker starts or stops; what matters comes back as an error.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    app()


if __name__ == "__main__":
    main()
