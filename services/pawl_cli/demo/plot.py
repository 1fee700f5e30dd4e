"""The chart: approval over time, with what happened."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pawl_cli.demo.measure import Bin, Visit, bins

BIN = 25  # rated sessions a point: an interval of about ±20 points at 50 %
# Colour-blind safe (Okabe and Ito), readable on white.
LETTER = 0.0072  # width of a letter of a mark, as a share of the plot's
INK, BASE, ADAPTER, GRID = "#24292f", "#0072B2", "#D55E00", "#e6e8eb"


@dataclass(frozen=True)
class Chart:
    """What is drawn. Times are seconds since the epoch; `marks` are (time, label) in time order."""

    visits: Sequence[Visit]
    marks: Sequence[tuple[float, str]]
    base: str  # version
    title: str


def draw(chart: Chart) -> Figure:
    """Approval of the base and of later versions, with 95 % intervals, and a line for each thing that happened."""
    start = min((visit.began for visit in chart.visits), default=0.0)
    figure = Figure(figsize=(10.5, 5.2), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    by_base = [visit for visit in chart.visits if visit.versions <= {chart.base}]
    by_adapter = [visit for visit in chart.visits if chart.base not in visit.versions]
    _series(axes, bins(by_base, BIN), start, BASE, "base model")
    _series(axes, bins(by_adapter, BIN), start, ADAPTER, "trained adapter")
    _marks(axes, chart.marks, start)
    _style(axes)
    axes.set_title(chart.title, loc="left", fontsize=11, fontweight="bold", color=INK, pad=42)
    return figure


def save_png(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=150, format="png")


def svg(figure: Figure) -> str:
    """The chart as an <svg> element for a page; text stays text."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "pawl"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _series(axes: Axes, series: Sequence[Bin], start: float, colour: str, label: str) -> None:
    if not series:
        return
    minutes = [(each.time - start) / 60 for each in series]
    axes.fill_between(
        minutes,
        [each.approval.low for each in series],
        [each.approval.high for each in series],
        color=colour,
        alpha=0.15,
        linewidth=0,
    )
    points = [each.approval.point for each in series]
    axes.plot(minutes, points, color=colour, marker="o", markersize=4, linewidth=1.8, label=label)


def _marks(axes: Axes, marks: Sequence[tuple[float, str]], start: float) -> None:
    """Labels stand above the plot, each as low as its neighbours on the left allow."""
    minutes = [(time - start) / 60 for time, _ in marks]
    widths = [len(label) * LETTER for _, label in marks]
    left, right = axes.get_xlim()
    places = [(minute - left) / (right - left) for minute in minutes]
    for minute, (_, label), height in zip(minutes, marks, heights(places, widths), strict=True):
        axes.axvline(minute, color="#8c959f", linewidth=1, linestyle=(0, (3, 3)), zorder=0)
        axes.annotate(
            label,
            (minute, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3 + 12 * height),
            textcoords="offset points",
            ha="center",
            fontsize=8.5,
            color=INK,
        )


def heights(places: Sequence[float], widths: Sequence[float]) -> list[int]:
    """The lowest line for each label, centred at `places` (in order), on which it overlaps no earlier one."""
    ends: list[float] = []
    found = []
    for place, width in zip(places, widths, strict=True):
        line = next((n for n, end in enumerate(ends) if end <= place - width / 2), len(ends))
        ends[line : line + 1] = [place + width / 2]
        found.append(line)
    return found


def _style(axes: Axes) -> None:
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("minutes", color=INK)
    axes.set_ylabel(f"approval per session (groups of {BIN}, 95 % interval)", color=INK)
    axes.grid(axis="y", color=GRID)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#8c959f")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower left", frameon=False, labelcolor=INK)
