"""Alarms, their advice and reviews, as the command line tells them."""

import json

import httpx
import pytest
from support.samples import BASE, MODEL, RATE, SAMPLES, WHEN, uid
from typer.testing import CliRunner

from pawl_cli.__main__ import app
from pawl_cli.commands import review as command
from pawl_cli.commands.status import reviews, summary
from pawl_cli.monitor_client import MonitorClient, MonitorError
from pawl_shared import events as e

DEPLOYED = next(event for event in SAMPLES if isinstance(event, e.DeploymentChanged))
REVIEW = {
    "review": str(uid(31)), "time": "2026-03-01T12:30:00Z", "sentence": "Please judge 2 answers.", "version": BASE,
    "items": 2, "reviewed": 1, "said": "1 of 2 reviewed.",
}  # fmt: skip
ANSWERS = [
    {"inference_id": "a", "messages": [{"role": "user", "content": "Why?"}], "answer": "So.", "thumb": "down",
     "correction": "Because.", "who": "ada", "missing": False},
    {"inference_id": "b", "messages": [], "answer": "", "thumb": None, "correction": "", "who": "", "missing": True},
]  # fmt: skip


def alarm(number: int, detector: str, direction: str, cure: str) -> e.DriftDetected:
    return e.DriftDetected.model_validate(
        {
            "id": uid(number), "time": WHEN, "source": "t", "model": MODEL, "detector": detector,
            "direction": direction,
            "version": DEPLOYED.champion.version, "since": WHEN, "before": RATE, "after": RATE, "sessions": 9,
            "evidence": 2, "threshold": 1, "sentence": f"Alarm {number}.",
            "advice": {"cure": cure, "sentence": f"Cure {cure}."},
        }
    )  # fmt: skip


def test_the_latest_advice_on_an_open_alarm_is_told_and_news_beside_it() -> None:
    fell, moved = alarm(1, "approval", "drop", "train"), alarm(2, "traffic/latest", "drift", "review")
    later = e.DriftAssessed(id=uid(3), time=WHEN, source="t", model=MODEL, alarm=fell.id, sessions=200,
                            advice=e.Advice(cure="prompt", sentence="Another prompt."))  # fmt: skip
    found = summary([DEPLOYED, fell, moved])
    assert (found["alarm"]["id"], found["advice"]["cure"], found["news"]["id"]) == (str(uid(1)), "train", str(uid(2)))
    assert summary([DEPLOYED, fell, moved, later])["advice"]["cure"] == "prompt"
    over = e.DriftResolved(id=uid(4), time=WHEN, source="t", model=MODEL, alarm=fell.id, now=RATE, sentence="Back.")
    found = summary([DEPLOYED, fell, later, over])
    assert (found["alarm"], found["advice"], found["news"]) == (None, None, None)


def test_reviews_that_are_not_done_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    served = {"champion": {"version": BASE}}
    done, other = REVIEW | {"reviewed": 2}, REVIEW | {"version": "9" * 64}
    monkeypatch.setattr(httpx, "get", lambda *_, **__: httpx.Response(200, json=[REVIEW, done, other]))
    assert reviews(MonitorClient("http://m"), MODEL, served) == [REVIEW]
    monkeypatch.setattr(httpx, "get", lambda *_, **__: httpx.Response(503))
    assert reviews(MonitorClient("http://m"), MODEL, served) == []


@pytest.mark.parametrize("status", [401, 403])
def test_a_monitor_that_asks_for_a_key_is_told_with_where_to_put_one(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(httpx, "get", lambda *_, **__: httpx.Response(status))
    with pytest.raises(MonitorError, match="PAWL_API_KEY"):
        MonitorClient("http://m").trigger(MODEL)


def test_a_review_is_listed_and_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "running", lambda _: None)
    monkeypatch.setattr(command, "monitor_of", lambda *_: MonitorClient("http://m"))
    monkeypatch.setattr(httpx, "get", lambda *_, **__: httpx.Response(200, json=[REVIEW]))
    listed = CliRunner().invoke(app, ["review", "list"])
    assert listed.exit_code == 0
    for word in ("Please judge 2 answers.", "1 of 2 reviewed.", f"http://m/reviews/{uid(31)}"):
        assert word in listed.output
    assert json.loads(CliRunner().invoke(app, ["review", "list", "--json"]).output) == [REVIEW]
    page = {"review": REVIEW, "answers": ANSWERS}
    monkeypatch.setattr(httpx, "get", lambda *_, **__: httpx.Response(200, json=page))
    shown = CliRunner().invoke(app, ["review", "show", str(uid(31))]).output
    for word in ("bad, by ada", "user: Why?", "better: Because.", "not kept any more"):
        assert word in shown
    wrong = CliRunner().invoke(app, ["review", "show", "x"])
    assert (wrong.exit_code, "pawl review list" in wrong.output) == (1, True)
