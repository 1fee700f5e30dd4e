"""The ring of the console's first page."""

from types import SimpleNamespace as Fake

import pytest

from pawl_monitor.console.pages import Pages


def ring(*alarms: Fake) -> str:
    counts = dict.fromkeys(
        ("answers", "answers_recent", "feedback", "feedback_recent", "rated", "sessions", "sessions_recent"), 0
    )
    view = Fake(
        headline=Fake(phase="drifted" if any(alarm.open for alarm in alarms) else "steady"),
        counts=Fake(**counts),
        alarms=list(alarms),
        reference=Fake(sessions=300, needed=250),
        usable=Fake(rows=7),
        run=None,
        canary=None,
    )
    return Pages()._environment.get_template("_loop.html").render(view=view)


def alarm(before: float, after: float, *, is_open: bool) -> Fake:
    return Fake(before=Fake(point=before), after=Fake(point=after), open=is_open)


@pytest.mark.parametrize("newer", [(), (alarm(0.1, 0.3, is_open=False),)])
def test_an_open_alarm_is_shown_though_a_newer_one_is_only_news(newer: tuple[Fake, ...]) -> None:
    shown = ring(*newer, alarm(0.8, 0.7, is_open=True))
    assert ("Alarm" in shown, "80% → 70%" in shown, "Quiet" in shown) == (True, True, False)


def test_news_alone_are_no_alarm() -> None:
    shown = ring(alarm(0.1, 0.3, is_open=False))
    assert ("Alarm" in shown, "Quiet" in shown) == (False, True)
