"""`pawl model`: what is wanted of a model, and by what it is decided about it."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from pawl_cli import model_file
from pawl_cli.commands.asked import Asked, asking
from pawl_cli.commands.cluster import bus_at
from pawl_cli.commands.common import DEFAULT_DATA, AsJson, Data, Model, Servers, print_json, told
from pawl_cli.log import policies
from pawl_cli.log.policies import Known
from pawl_cli.log.story import short
from pawl_shared.errors import ConfigurationError
from pawl_shared.events import ConfigureModelCommand
from pawl_shared.policies.model_policy import ModelPolicy
from pawl_shared.policies.values import DEFAULT_MODEL

model_app = typer.Typer(help="A model's policy: purpose, detectors, triggers, gates, canary.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(help="The model.yaml.")]


@model_app.command("init")
def init(
    file: File = Path("model.yaml"),
    model: Model = DEFAULT_MODEL,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")] = False,
) -> None:
    """Write a model.yaml with every key, what it stands for, and its default.

    Example:  pawl model init model.yaml --model default/assistant
    """
    with told():
        if file.exists() and not force:
            raise ConfigurationError(f"{file} is there already: give another name, or --force to overwrite it")
        policy = ModelPolicy(model=model, purpose="Say in a sentence what this model is for.")
        file.write_text(model_file.render(policy), encoding="utf-8")
        typer.echo(f"Wrote {file}. Change it, then: pawl model check {file}, pawl model apply {file}")


@model_app.command("check")
def check(file: File = Path("model.yaml"), json: AsJson = False) -> None:
    """Look at a model.yaml: every mistake with its line, key, and what to write instead. Nothing has to run.

    Exit status: 0 it can be applied, 1 it cannot.

    Example:  pawl model check model.yaml
    """
    with told():
        policy = model_file.load(file)
        if json:
            print_json({"model": policy.model, "digest": policy.digest, "policy": policy.model_dump(mode="json")})
            return
        typer.echo(f"{file} is a policy of {policy.model}, {short(policy.digest)}. It differs from the defaults in:")
        changed = list(model_file.differences(ModelPolicy(model=policy.model), policy))
        typer.echo("\n".join(f"  {key}: {after}" for key, _, after in changed) or "  nothing")


@model_app.command("show")
def show(
    model: Model = DEFAULT_MODEL,
    history: Annotated[bool, typer.Option("--history", help="List all policies that were ever valid.")] = False,
    data: Data = DEFAULT_DATA,
    kafka: Servers = "",
    json: AsJson = False,
) -> None:
    """Show the policy that is valid, as a model.yaml; or with --history who made which one valid, when and why.

    Example:  pawl model show > model.yaml
    """
    with told():
        known = policies.known(bus_at(data, kafka), model)
        if history:
            _history(known, model, json)
        elif json:
            defaults = {"digest": None, "policy": ModelPolicy(model=model).model_dump(mode="json")}
            print_json(_plain(known.valid) if known.valid else defaults)
        else:
            policy = known.valid.policy if known.valid else ModelPolicy(model=model)
            typer.echo(_headline(known, model) + "\n" + model_file.render(policy), nl=False)


@model_app.command("apply")
@asking
def apply(asked: Asked, file: File = Path("model.yaml")) -> None:
    """Make a model.yaml valid from now on, without a restart. A file with a mistake changes nothing.

    What was decided before stays decided, by the policy of that time, which `pawl replay` uses again. A canary that
    runs is tried by the policy under which it began; other detectors begin to learn anew.

    Example:  pawl model apply model.yaml --why "a smaller canary on weekdays"
    """
    with told():
        policy, bus = model_file.load(file), asked.bus()
        before = policies.known(bus, policy.model).valid
        applied = policies.apply(bus, policy, asked.by, asked.why)
        old = before.policy if before else ModelPolicy(model=policy.model)
        changed = list(model_file.differences(old, policy))
        if asked.json:
            print_json(
                {
                    "model": policy.model,
                    "digest": policy.digest,
                    "configured": applied.configured,
                    "base": applied.base,
                    "changes": [{"key": key, "before": one, "after": other} for key, one, other in changed],
                }
            )
            return
        state = "is valid from now on" if applied.configured else "was valid already: nothing is changed"
        typer.echo(f"Policy {short(policy.digest)} of {policy.model} {state}.")
        for key, one, other in changed:
            typer.echo(f"  {key}: {one} -> {other}")
        if not applied.base and policies.known(bus, policy.model).base is None:
            typer.echo(f"No base is registered for {policy.model} yet: name one with `base:` in {file}.")
        if applied.base:
            typer.echo(f"The base {applied.base} is being brought in; `pawl status` shows when it serves.")


def _headline(known: Known, model: str) -> str:
    if not known.policies:
        what = "nothing was applied" if known.base else f"nothing is known of {model} yet"
        return f"# {what}: Pawl's defaults are valid"
    at, command = known.policies[-1]
    why = f": {' '.join(command.why.split())}" if command.why else ""
    return f"# policy {command.digest}\n# valid since {at:%Y-%m-%d %H:%M:%S} UTC, by {command.who}{why}"


def _history(known: Known, model: str, json: bool) -> None:
    if json:
        print_json([{"at": at, **_plain(command)} for at, command in known.policies])
        return
    console = Console(highlight=False)
    for at, command in known.policies:
        line = f"{at:%Y-%m-%d %H:%M:%S} UTC  {short(command.digest)}  {command.who}  {command.why}"
        console.print(line.rstrip(), markup=False)
    if not known.policies:
        console.print(_headline(known, model).removeprefix("# "))


def _plain(command: ConfigureModelCommand) -> dict[str, Any]:
    return command.model_dump(mode="json", include={"digest", "who", "why", "policy"})
