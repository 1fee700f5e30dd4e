"""`pawl models`: the versions of a model, to choose from."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from pawl_cli.commands.cluster import bus_at
from pawl_cli.commands.common import DEFAULT_DATA, AsJson, Data, Model, Servers, print_json, told
from pawl_cli.commands.deployment import Prefix, find, known
from pawl_cli.log import policies
from pawl_cli.log.story import live_words, short
from pawl_cli.log.versions import Version
from pawl_shared.errors import PawlError
from pawl_shared.policies.values import DEFAULT_MODEL

models_app = typer.Typer(help="The versions of a model: stages, when they served, how they did.", no_args_is_help=True)


@models_app.command("list")
def list_versions(
    model: Model = DEFAULT_MODEL, data: Data = DEFAULT_DATA, kafka: Servers = "", json: AsJson = False
) -> None:
    """List the versions of a model: stage, since when, approval of their live sessions, when they served, and from
    which version each was trained.

    Example:  pawl models list
    """
    with told():
        bus = bus_at(data, kafka)
        found = known(bus, model)
        if not found:
            policies.registered(bus, model)
            raise PawlError(f"{model} has no versions yet: its base is being prepared (`pawl status`)")
        if json:
            print_json([_plain(version) for version in found])
            return
        table = Table("version", "stage", "since", "approval, sessions", "served", "parent", box=None, pad_edge=False)
        for version in found:
            table.add_row(
                short(version.version),
                _stage(version),
                _day(version.since),
                _approval(version),
                _served(version),
                short(version.parent or "") or ("–" if version.kind == "base" else "base"),
            )
        Console(highlight=False).print(table)


@models_app.command("show")
def show(
    version: Prefix, model: Model = DEFAULT_MODEL, data: Data = DEFAULT_DATA, kafka: Servers = "", json: AsJson = False
) -> None:
    """Show all that the log says of one version: where it comes from, every gate, when it served, how it does.

    Example:  pawl models show 3f9a
    """
    with told():
        found = find(bus_at(data, kafka), model, version)
        if json:
            print_json(_plain(found))
            return
        console = Console(highlight=False)
        console.print(f"[bold]{found.version}[/]  {found.name or found.kind}")
        why = f" by {found.who}: {'; '.join(found.reasons)}" if found.reasons else ""
        lines = [("Stage", f"{_stage(found)} since {_day(found.since)}{why}")]
        lines += [("Base", found.base), ("Parent", found.parent or ""), ("Data set", found.dataset or "")]
        lines += [("Precision", precision(found)), ("Recipe", found.recipe), ("Served", _served(found))]
        lines += [("Live", live_words(found.live) if found.live else "")]
        lines += [("Gate", f"{'✓' if gate.passed else '✗'} {gate.gate}: {gate.sentence}") for gate in found.gates]
        for name, text in lines:
            if text:
                console.print(f"{name:<9} {text}", markup=False)


def _stage(version: Version) -> str:
    more = ", pinned" if version.pinned else f", {version.on_trial:.0%}" if version.on_trial else ""
    return f"{version.stage or 'unknown'}{more}"


def precision(version: Version) -> str:
    """How far what is served of a base is from the base itself."""
    seen = version.fidelity
    if not seen:
        return version.precision
    return (
        f"{version.precision}: against fp32 KL {seen['kl_mean']:.2g} nats (at most {seen['kl_max']:.2g}), "
        f"the same likeliest token at {seen['top1']:.1%} of {seen['positions']:,.0f} positions"
    )


def _approval(version: Version) -> str:
    if version.live is None:
        return "–"
    rate = version.live.approval
    rated = f"{rate.point:.0%} ({rate.low:.0%} to {rate.high:.0%})" if rate.n else "nobody rated"
    return f"{rated}, {version.live.sessions:,}"


def _served(version: Version) -> str:
    return "; ".join(f"{_day(start)} to {_day(end) if end else 'now'}" for start, end in version.served) or "never"


def _day(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment else ""


def _plain(version: Version) -> dict[str, Any]:
    live = version.live.model_dump(mode="json") if version.live else None
    gates = [gate.model_dump(mode="json") for gate in version.gates]
    return {**asdict(version), "gates": gates, "live": live}
