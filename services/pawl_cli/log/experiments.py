"""Experiments as they stand on the log, and their report for people. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from pawl_cli import model_file
from pawl_cli.log.story import short
from pawl_shared.events import ArmCompared, DeploymentChanged, Event, Experiment, ExperimentObserved, Interval
from pawl_shared.policies.experiment_spec import ExperimentSpec

# Plain means that fit on a line; all of them are in --json.
SHOWN, METRIC = ("seconds", "words"), "metric/"

EXAMPLE = """\
# What is compared. `pawl experiment start FILE` begins it, `pawl experiment status` shows what is seen,
# `pawl experiment stop` ends it. Nothing is promoted by an experiment. docs/experiments.md tells more.
name: friendlier
model: {model}

# Two to eight arms; the first is the control, with which the others are compared. A session meets one arm, drawn by its
# share; what the shares leave over is answered by the champion as ever. An arm may set:
#   version:      champion (the default), base, or the first digits of a version that passed the gates
#   system:       a system prompt that is put before the conversation
#   temperature, top_p, max_tokens:  for requests that name none
arms:
  plain:
    share: 0.5
  friendly:
    share: 0.5
    system: You are a friendly assistant. Answer in two or three short sentences.

# Bound on the probability that an interval of a kind ever misses, over all arms and however often one looks.
alpha: 0.05
# It ends by itself after so many sessions, or hours of event time; null: it does not.
limit_sessions: null
limit_hours: 336
"""


@dataclass(frozen=True)
class Standing:
    """An experiment and what was last told of it; `ended`: why it is over, empty while it runs."""

    experiment: Experiment
    report: ExperimentObserved | None
    ended: str = ""


def load(path: Path) -> ExperimentSpec:
    """The experiment in a file. Raises ModelFileError with every mistake, ConfigurationError when it is unreadable."""
    return model_file.load_as(path, ExperimentSpec, "pawl experiment init")


def standings(events: Sequence[Event], model: str) -> list[Standing]:
    """All experiments of a model, in their order."""
    found: dict[object, Standing] = {}
    running: Experiment | None = None
    for event in events:
        if isinstance(event, DeploymentChanged) and event.model == model:
            if running is not None and event.experiment is None:
                found[running.id] = Standing(running, None, "; ".join(event.reasons) or event.change)
            elif event.experiment is not None and event.experiment.id not in found:
                found[event.experiment.id] = Standing(event.experiment, None)
            running = event.experiment
    latest = {event.experiment: event for event in events if isinstance(event, ExperimentObserved)}
    return [Standing(one.experiment, latest.get(one.experiment.id), one.ended) for one in found.values()]


def table_of(standing: Standing) -> Table:
    """One row an arm."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("arm", "version", "share", "sessions", "rated", "approval", "less the control"):
        table.add_column(column, justify="left" if column in ("arm", "version") else "right")
    report = standing.report
    seen = {arm.arm: arm for arm in report.arms} if report else {}
    gaps = {gap.arm: gap for gap in report.compared} if report else {}
    means = sorted({name for arm in seen.values() for name in arm.means if name in SHOWN or name.startswith(METRIC)})
    for name in means:
        table.add_column(name, justify="right")
    for arm in standing.experiment.arms:
        one, gap = seen.get(arm.name), gaps.get(arm.name)
        figures = (str(one.sessions), _rate(one.rated), _rate(one.approval)) if one else ("0", "-", "-")
        numbers = [f"{one.means[name]:.3g}" if one and name in one.means else "-" for name in means]
        between = f"{100 * gap.low:+.1f} .. {100 * gap.high:+.1f}" if gap and gap.blocks else "-"
        cells = (arm.name, short(arm.served.version), f"{arm.share:.0%}", *figures, between, *numbers)
        table.add_row(*(escape(cell) for cell in cells))
    return table


def sentences(standing: Standing) -> Iterator[str]:
    """What follows from the figures, and what one must not make of them."""
    report = standing.report
    if report is None:
        yield "No session of it is over yet."
        return
    for gap in report.compared:
        yield _verdict(gap)
    for warning in report.warnings:
        yield f"Take care: {warning}."
    yield (
        f"Intervals hold at any time, all of a kind together with {1 - report.alpha:.3g}; they are of sessions that "
        "people rated. Other columns are plain means."
    )


def _verdict(gap: ArmCompared) -> str:
    points = f"{100 * gap.difference:+.1f} points ({100 * gap.low:+.1f} to {100 * gap.high:+.1f})"
    word = "is better than" if gap.low > 0 else "is worse than" if gap.high < 0 else "is not told apart from"
    return f"{gap.arm} {word} {gap.control}: {points} of approval in {gap.blocks} comparisons."


def _rate(interval: Interval) -> str:
    if not interval.n:
        return "-"
    return f"{interval.point:.1%} ({interval.low:.1%} .. {interval.high:.1%})"
