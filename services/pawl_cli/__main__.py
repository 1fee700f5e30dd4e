"""The command line: `pawl --help`."""

from pawl_cli.commands.on_demand import app_of

COMMANDS = {
    "Run it": {
        "up": ("up:up", "Run Kafka and all services here until Ctrl-C."),
        "demo": ("demo:demo", "Close the loop once on a real model, with made-up people."),
        "status": ("status:status", "What serves, what runs, what is wrong, and what is next."),
        "backup": ("backup:backup", "Copy all that must not be lost into a folder."),
        "restore": ("backup:restore", "Fill a new data folder from a backup."),
        "keys": ("keys:keys_app", "API keys: who may ask the services for what."),
        "kafka": ("kafka:kafka", "Run the embedded Kafka alone."),
        "topics": ("kafka:topics_app", "The topics of a cluster."),
    },
    "Who serves": {
        "rollback": ("deployment:rollback", "Undo the latest change of who serves, at once."),
        "promote": ("deployment:promote", "Make a version champion."),
        "pin": ("deployment:pin", "Serve a version and stay on it."),
        "unpin": ("deployment:unpin", "Let candidates be tried and promoted again."),
        "approve": ("approve:approve", "Say yes to a version that waits for a person."),
        "reject": ("approve:reject", "Say no to a version: it never serves again."),
        "models": ("models:models_app", "The versions of a model, and how they did."),
    },
    "What the loop does": {
        "pause": ("pause:pause", "Stop the loop from acting by itself."),
        "resume": ("pause:resume", "Let the loop go on."),
        "retrain": ("retrain:retrain", "Ask for a training run without an alarm."),
        "model": ("model:model_app", "A model's policy: detectors, triggers, gates, canary."),
        "policy": ("policy:policy_app", "What another policy would have decided on the log."),
        "experiment": ("experiment:experiment_app", "Compare versions, settings and system prompts live."),
        "review": ("review:review_app", "Answers that an alarm asks people to judge."),
    },
    "What happened": {
        "explain": ("explain:explain", "An answer, back to the feedback its version learnt from."),
        "replay": ("replay:replay", "Decide everything again from the log, and compare."),
        "dead-letters": ("dead_letters:dead_letters_app", "Records that could not be read or handled."),
    },
}
app = app_of(COMMANDS, "Pawl closes the loop from production feedback to a better model, and never lets it slip back.")


def main() -> None:
    """The entry point of the `pawl` script."""
    app()


if __name__ == "__main__":
    main()
