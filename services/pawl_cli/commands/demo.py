"""`pawl demo`: one round of the loop with a synthetic crowd."""

import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from pawl_cli.commands.common import told
from pawl_cli.commands.up import Base, Kafka, announce
from pawl_cli.demo import phases, report
from pawl_cli.demo.phases import Kind, Plan
from pawl_cli.demo.report import Result
from pawl_cli.demo.run import Demo, DemoOptions, conclude
from pawl_cli.running.memory import MemoryPeak
from pawl_cli.running.stack import Options, Wanted, running
from pawl_cli.terminal import Terminal
from pawl_shared.access.api_keys import Scope
from pawl_shared.policies.model_policy import Approval, Canary, Detectors, ModelPolicy, Triggers
from pawl_shared.settings import default_data_dir

# A crowd's hour passes in minutes: sessions are over after seconds, and half of them meet the challenger, since a
# canary at 50 % needs some 54 rated sessions where one at 10 % needs 159.
ENVIRONMENT = {
    "PAWL_SESSION_GAP_SECONDS": "4",
    "PAWL_TICK_SECONDS": "1",
}
# The crowd asks and rates, and the monitor explains.
SCOPES: tuple[Scope, ...] = ("infer", "feedback", "ops")
POLICY = ModelPolicy(
    purpose="Shows the loop with a synthetic crowd.",
    detectors=Detectors(approval=Approval(reference_sessions=200)),
    triggers=Triggers(cooldown=timedelta(seconds=20)),
    canary=Canary(share=0.5),
)


def demo(
    json: Annotated[Path | None, typer.Option("--json", help="Write the result to this file.")] = None,
    seed: Annotated[int, typer.Option(help="Of the crowd: who comes, what they ask, what they like.")] = 0,
    no_shift: Annotated[
        bool, typer.Option("--no-shift", help="Control: taste never changes; no alarm is due.")
    ] = False,
    bad_data: Annotated[bool, typer.Option("--bad-data", help="Control: random thumbs; no promotion is due.")] = False,
    time_limit: Annotated[float, typer.Option(help="Minutes from the crowd's arrival.", min=0.1)] = 20.0,
    data: Annotated[Path | None, typer.Option(help="Data folder; by default a new one for each run.")] = None,
    out: Annotated[Path, typer.Option(help="Where chart, page and result go.")] = Path("demo-out"),
    base: Base = "smollm2-135m-instruct",
    kafka: Kafka = "",
) -> None:
    """Close the loop once on a real model, with a synthetic crowd; ends with a chart of approval over time.

    Exit status: 0 a candidate was promoted and approval is proven better than while drifted; 3 no promotion (also the
    two control runs, where that is what is due), or it is not proven better; 1 something failed; 130 interrupted.

    Example:  pawl demo --seed 2 --json result.json
    """
    if no_shift and bad_data:
        raise typer.BadParameter("--no-shift and --bad-data are two different controls: choose one")
    kind: Kind = "no-shift" if no_shift else "bad-data" if bad_data else "shift"
    folder = (data or _new_folder(seed)).expanduser().absolute()
    options = DemoOptions(Plan(kind), seed, time_limit * 60, folder / "logs" / "crowd.log")
    stack_options = Options(
        folder, base=base, kafka=kafka, environment=ENVIRONMENT, models=(Wanted(policy=POLICY),), scopes=SCOPES
    )
    with told(), Terminal() as terminal:
        result = _run(stack_options, options, terminal, out)
        if json:
            json.parent.mkdir(parents=True, exist_ok=True)
            json.write_text(report.dumps(result))
        raise typer.Exit(result.outcome.exit_code)


def _run(stack_options: Options, options: DemoOptions, terminal: Terminal, out: Path) -> Result:
    begun = phases.begin(time.time())
    memory = MemoryPeak(os.getpid())
    with running(stack_options, terminal.step) as stack:
        terminal.done()
        announce(terminal, stack)
        run = Demo(stack, terminal, options, begun)
        run.run()
        terminal.done()
        result = conclude(run, options, stack, memory)
    terminal.done()
    _tell(terminal, result, report.write(result, run.visits, out))
    return result


def _tell(terminal: Terminal, result: Result, files: dict[str, Path]) -> None:
    if result.explained:
        terminal.line("pawl", "One answer, explained:")
        for line in result.explained:
            terminal.line("", line)
    for name, found in (
        ("before", result.measured.before),
        ("drifted", result.measured.drifted),
        ("after", result.measured.after),
    ):
        terminal.line("approval", f"{name:<8} {found or 'not measured'}")
    seconds = ", ".join(f"{name} {seconds:.0f}" for name, seconds in result.state.seconds.items())
    terminal.line("seconds", f"{seconds}; {sum(result.state.seconds.values()):.0f} in all")
    terminal.line("memory", f"{result.memory_peak_bytes / 1e9:.2f} GB at most, all processes together")
    for name, path in files.items():
        terminal.line(name, str(path))
    terminal.line("data", f"{result.folders['data']} (delete it when you are done with it)")
    terminal.line("pawl", result.outcome.sentence, "good" if result.outcome.expected else "bad")


def _new_folder(seed: int) -> Path:
    """A fresh folder beside the default data folder, so that running twice works and nothing is mixed."""
    return default_data_dir().parent / "pawl-demo" / f"{time.strftime('%Y%m%d-%H%M%S')}-seed{seed}-{os.getpid()}"
