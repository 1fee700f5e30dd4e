"""What a run of the demo found: the result as JSON, and a self-contained page with the chart."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from pawl_cli.demo.measure import Approval, Visit, approval
from pawl_cli.demo.phases import PHASES, Plan, State
from pawl_cli.log.story import short

PROMOTED, NOT_PROMOTED = 0, 3  # exit codes


@dataclass(frozen=True)
class Measured:
    """Approval in the three stretches that matter; each None when the run never got there."""

    before: Approval | None
    drifted: Approval | None
    after: Approval | None


@dataclass(frozen=True)
class Outcome:
    """How a run ended, for people and scripts."""

    exit_code: int
    sentence: str
    expected: bool  # what this kind of run is meant to end like


@dataclass(frozen=True)
class Result:
    """Everything that --json writes and the page shows."""

    plan: Plan
    seed: int
    state: State
    measured: Measured
    outcome: Outcome
    memory_peak_bytes: int
    base: str
    urls: Mapping[str, str] = field(default_factory=dict)
    folders: Mapping[str, str] = field(default_factory=dict)
    explained: Sequence[str] = ()


def measure(state: State, visits: Sequence[Visit], adapter: str | None) -> Measured:
    """Sort the crowd's visits into before, drifted and after.

    Drifted: since the taste changed, until the canary began (or the end). After: only unseen people and prompts, only
    visits that began after the promotion and were answered by the promoted version.
    """
    canary = next((time for time, label in state.marks if label == "canary"), float("inf"))
    shifted = state.shifted if state.shifted is not None else float("inf")
    before = [visit for visit in visits if visit.taste == "anything" and visit.ended <= shifted]
    drifted = [visit for visit in visits if visit.taste != "anything" and visit.ended <= canary]
    after = [visit for visit in visits if visit.audience == "unseen" and adapter and visit.versions == {adapter}]
    return Measured(*(approval(each) if each else None for each in (before, drifted, after)))


def judge(plan: Plan, state: State, measured: Measured) -> Outcome:
    """The verdict. Exit code 0 only for a promotion whose lower bound after is above the point while drifted."""
    if plan.kind == "no-shift":
        return _control(
            state.early_alarms == 0, "no alarm was raised", f"{state.early_alarms} false alarm(s) were raised"
        )
    if plan.kind == "bad-data":
        reason = state.rejections[-1] if state.rejections else f"no run went further than phase {state.phase!r}"
        return _control(
            not state.promoted, f"nothing was promoted ({reason})", "a candidate trained on noise was promoted"
        )
    if not state.promoted:
        why = f"; last refusal: {state.rejections[-1]}" if state.rejections else ""
        text = f"No candidate was promoted within the time limit; it ended in phase {state.phase!r}{why}."
        return Outcome(NOT_PROMOTED, text, expected=False)
    before, drifted, after = measured.before, measured.drifted, measured.after
    if after is None or drifted is None:
        return Outcome(NOT_PROMOTED, "Promoted, but the time was over before approval was measured.", expected=False)
    numbers = f"{drifted.point:.0%} → {after.point:.0%} [{after.low:.0%}, {after.high:.0%}]"
    was = f" (it was {before.point:.0%} before the taste changed)" if before else ""
    if after.low > drifted.point:
        return Outcome(PROMOTED, f"Approval {numbers} on unseen people and prompts{was}.", expected=True)
    return Outcome(NOT_PROMOTED, f"Promoted, but approval is not proven better: {numbers}{was}.", expected=False)


def _control(held: bool, good: str, bad: str) -> Outcome:
    text = f"Control run, as expected: {good}." if held else f"Control run FAILED: {bad}."
    return Outcome(NOT_PROMOTED, f"{text} Exit code {NOT_PROMOTED} means: no promotion.", expected=held)


def as_json(result: Result) -> dict[str, Any]:
    """The result in plain types. Absent measurements and ids are null."""
    state, measured = result.state, result.measured

    def interval(found: Approval | None) -> dict[str, Any] | None:
        return asdict(found) if found else None

    return {
        "exit_code": result.outcome.exit_code,
        "outcome": result.outcome.sentence,
        "expected": result.outcome.expected,
        "kind": result.plan.kind,
        "seed": result.seed,
        "approval_before": interval(measured.before),
        "approval_drifted": interval(measured.drifted),
        "approval_after": interval(measured.after),
        "seconds": {name: round(state.seconds.get(name, 0.0), 1) for name in PHASES},
        "seconds_total": round(sum(state.seconds.values()), 1),
        **{name: state.ids.get(name) for name in ("alarm", "dataset", "run", "adapter", "canary", "promotion")},
        "base": result.base or None,
        "rejections": list(state.rejections),
        "false_alarms": state.early_alarms,
        "memory_peak_bytes": result.memory_peak_bytes,
        "urls": dict(result.urls),
        "folders": dict(result.folders),
        "explained": list(result.explained),
    }


def dumps(result: Result) -> str:
    return json.dumps(as_json(result), indent=2) + "\n"


def write(result: Result, visits: Sequence[Visit], folder: Path) -> dict[str, Path]:
    """Write chart.png, report.html and result.json; answers where each lies."""
    from pawl_cli.demo import plot  # matplotlib takes a second to import, and `pawl --help` should not wait for it

    folder.mkdir(parents=True, exist_ok=True)
    files = {"chart": folder / "chart.png", "report": folder / "report.html", "result": folder / "result.json"}
    figure = plot.draw(plot.Chart(visits, result.state.marks, result.base, result.outcome.sentence))
    plot.save_png(figure, files["chart"])
    files["report"].write_text(page(result, plot.svg(figure)), encoding="utf-8")
    files["result"].write_text(dumps(result))
    return files


def page(result: Result, chart: str) -> str:
    """A page that needs nothing else: no script, no style sheet, no font from anywhere."""
    state, measured = result.state, result.measured
    approvals = [("before the taste changed", measured.before), ("while drifted", measured.drifted),
                 ("after the promotion, unseen people and prompts", measured.after)]  # fmt: skip
    ids = [(name, state.ids[name]) for name in state.ids]
    phases = [(name, f"{state.seconds[name]:.0f} s") for name in PHASES if name in state.seconds]
    facts = [("seed", str(result.seed)), ("kind of run", result.plan.kind),
             ("memory of all processes, peak", f"{result.memory_peak_bytes / 1e9:.1f} GB")]  # fmt: skip
    return PAGE.format(
        sentence=escape(result.outcome.sentence),
        chart=chart,
        approval=_table([(name, str(found) if found else "not measured") for name, found in approvals]),
        phases=_table(phases),
        ids=_table([(name, value if len(value) == 36 else short(value)) for name, value in ids]),
        facts=_table(facts),
        explained="".join(f"<li>{escape(line)}</li>" for line in result.explained) or "<li>No answer to explain.</li>",
    )


def _table(rows: Sequence[tuple[str, str]]) -> str:
    cells = "".join(f"<tr><th scope=row>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows)
    return f"<table>{cells}</table>"


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Pawl: one round of the loop</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #24292f; background: #fff; max-width: 62rem; margin: 2rem auto;
  padding: 0 1rem; }}
h1 {{ font-size: 1.4rem; }} h2 {{ font-size: 1.05rem; margin-top: 2rem; }}
svg {{ width: 100%; height: auto; }}
table {{ border-collapse: collapse; }} th {{ text-align: left; font-weight: 500; padding-right: 2rem; }}
td {{ font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }}
th, td {{ border-bottom: 1px solid #e6e8eb; padding-top: .3rem; padding-bottom: .3rem; }}
</style></head><body>
<h1>{sentence}</h1>
<p>The visitors are synthetic; the model, the services, Kafka, the training and the decisions are real.</p>
{chart}
<h2>Approval per session, with 95&nbsp;% intervals</h2>{approval}
<h2>How long each phase took</h2>{phases}
<h2>Ids</h2>{ids}
<h2>One answer, explained</h2><ul>{explained}</ul>
<h2>This run</h2>{facts}
</body></html>
"""
