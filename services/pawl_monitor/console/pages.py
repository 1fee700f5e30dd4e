"""Renders the console. Templates escape everything; numbers and times are formatted here and nowhere else."""

from __future__ import annotations

from datetime import datetime
from importlib import resources
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pawl_monitor.storage.model_names import Models
from pawl_monitor.views.alarm_gather import AlarmPage
from pawl_monitor.views.overview import Overview
from pawl_monitor.views.reviews import ReviewPage

STATIC = Path(str(resources.files("pawl_monitor.console") / "static"))
TEMPLATES = Path(str(resources.files("pawl_monitor.console") / "templates"))

# Parts of the overview that are replaced as a whole; each is a template of its own name.
FRAGMENTS = (
    "headline",
    "loop",
    "approval",
    "waiting",
    "run",
    "canary",
    "alarms",
    "versions",
    "experiment",
    "story",
    "foot",
)


class Pages:
    """Turns views into HTML."""

    def __init__(self) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
            lstrip_blocks=True,
        )  # fmt: skip
        filters = {"percent": percent, "count": count, "short": short, "moment": moment, "duration": duration}
        self._environment.filters.update(filters)

    def overview(self, view: Overview, models: Models, holder: str = "") -> str:
        """The whole page. `holder`, here and below: the name of the key of who looks; empty: none is asked for."""
        fragments = {name: Markup(html) for name, html in self.fragments(view).items() if name != "chart"}  # noqa: S704
        template = self._environment.get_template("overview.html")
        chart = view.chart.model_dump_json()
        return template.render(view=view, models=models, fragments=fragments, chart=chart, holder=holder)

    def alarm(self, view: AlarmPage, holder: str = "") -> str:
        """The page of one alarm."""
        chart = view.chart.model_dump_json()
        return self._environment.get_template("alarm.html").render(view=view, chart=chart, holder=holder)

    def review(self, view: ReviewPage, holder: str = "") -> str:
        """The page of one review, where answers are judged."""
        return self._environment.get_template("review.html").render(view=view, holder=holder)

    def empty(self, holder: str = "") -> str:
        """The page before there is any model."""
        return self._environment.get_template("empty.html").render(holder=holder)

    def problem(self, status: int, detail: str, holder: str = "") -> str:
        """Why there is no page of what was asked for."""
        title = "Not found" if status == 404 else "That did not work"
        return self._environment.get_template("problem.html").render(title=title, detail=detail, holder=holder)

    def login(self, target: str, problem: str = "") -> str:
        """Where a key is pasted; then on to `target`. `problem`: what was wrong with the last one."""
        return self._environment.get_template("login.html").render(target=target, problem=problem, holder="")

    def again(self, target: str) -> str:
        """A page that asks for `target` once more, as a page of this console."""
        return self._environment.get_template("again.html").render(target=target)

    def fragments(self, view: Overview) -> dict[str, str]:
        """The parts that change, by name, and the chart's data as JSON."""
        parts = {name: self._environment.get_template(f"_{name}.html").render(view=view) for name in FRAGMENTS}
        return parts | {"chart": view.chart.model_dump_json()}


def percent(value: float) -> str:
    """`78%`; small shares keep a digit."""
    return f"{value:.0%}" if value >= 0.1 or value == 0 else f"{value:.1%}"


def count(value: int) -> str:
    """`12 345`, with thin spaces."""
    return f"{value:,}".replace(",", "\u202f")


def short(version: str | None) -> str:
    """A digest as people see it: its first 12 hex digits."""
    return (version or "")[:12]


def moment(time: datetime) -> Markup:
    """A time that the browser shows in the reader's own zone; without scripts it is UTC."""
    return Markup('<time datetime="{}">{}</time>').format(
        time.isoformat(timespec="seconds"), time.strftime("%H:%M:%S UTC")
    )


def duration(seconds: float) -> str:
    """`1 min 20 s`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
