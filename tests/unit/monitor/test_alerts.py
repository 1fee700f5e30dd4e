"""What people are told about: each trouble once when it begins and once when it is over, under ids that come again."""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID, uuid5

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_structured_event
from support.samples import MODEL, SAMPLES, WHEN

from pawl_monitor.alerting.formats import body_of
from pawl_monitor.alerting.signature import secret_of, signed_headers
from pawl_monitor.domain.alerts import LOOP, Alert, AlertRules, Health, keys_of
from pawl_shared import events as e

RULES = AlertRules()
NUMBERS = iter(range(1, 10_000))


def event(kind: type[e.Event], **changes: object) -> e.Event:
    found = next(each for each in SAMPLES if type(each) is kind)
    return found.model_copy(update={"id": uuid5(UUID(int=1), str(next(NUMBERS))), **changes})


def told(events: Iterable[tuple[float, e.Event]]) -> list[Alert]:
    """The alerts of events, each so many seconds after the first; states are kept as they are stored."""
    states: dict[str, Health] = {}
    alerts: list[Alert] = []
    for seconds, each in events:
        for key in keys_of(each):
            before = Health.model_validate_json(states.get(key, Health()).model_dump_json())
            states[key], found = RULES.step(before, key, each, WHEN + timedelta(seconds=seconds))
            alerts += found
    return alerts


def said(alerts: Iterable[Alert]) -> list[tuple[str, str]]:
    return [(alert.kind, alert.state) for alert in alerts]


def test_an_alarm_is_told_once_and_so_is_its_end() -> None:
    drop = event(e.DriftDetected)
    end = event(e.DriftResolved, alarm=drop.id)
    alerts = told([(0, drop), (1, drop), (5, end), (6, end)])
    assert said(alerts) == [("drift", "firing"), ("drift", "resolved")]
    assert {alert.alarm for alert in alerts} == {drop.id}
    assert alerts[0].id != alerts[1].id
    assert [alert.id for alert in told([(0, drop), (5, end)])] == [alert.id for alert in alerts], "the same ids again"
    assert (alerts[0].severity, alerts[0].model, alerts[0].sentence) == ("critical", MODEL, "Fell.")
    assert told([(0, event(e.DriftDetected, direction="rise"))]) == []


def test_other_prompts_and_answers_are_news_that_nothing_ends() -> None:
    for detector, direction in (("traffic/words", "drift"), ("output/empty", "rise")):
        seen = event(e.DriftDetected, detector=detector, direction=direction)
        (other,) = told([(0, seen)])
        assert (other.severity, other.state, other.alarm) == ("warning", "firing", seen.id)
        assert RULES.step(Health(), MODEL, seen, WHEN)[0].open == {}, "or it would stay open for ever"


def test_an_alarm_is_told_with_its_advice_and_a_review_asks_for_people() -> None:
    advice = e.Advice(cure="train", sentence="Training is the likelier cure.")
    (alarm,) = told([(0, event(e.DriftDetected, advice=advice))])
    assert alarm.sentence == "Fell. Training is the likelier cure."
    (asked,) = told([(0, event(e.ReviewRequested))])
    assert (asked.kind, asked.severity, asked.sentence) == ("review", "warning", "Please judge.")


def test_what_waits_for_a_person_is_told_until_somebody_has_decided() -> None:
    asked = event(e.ApprovalChanged)
    promotion = event(e.ApprovalChanged, step="promotion")
    answer = event(e.ApprovalChanged, state="approved", who="ada", reasons=("read it",))
    alerts = told([(0, asked), (1, promotion), (2, event(e.VersionObserved)), (3, answer)])
    assert [(alert.kind, alert.state) for alert in alerts] == [
        ("approval", "firing"), ("approval", "firing"), ("approval", "resolved"),
    ]  # fmt: skip
    assert "pawl approve" in alerts[0].sentence
    assert str(asked.report) in alerts[0].sentence
    assert alerts[2].sentence == "The canary is approved by ada: read it."
    assert alerts[2].alarm == alerts[0].alarm


def test_failures_and_refusals_count_in_a_row() -> None:
    failed, trained = (lambda: event(e.TrainingFailed)), (lambda: event(e.AdapterTrained))
    assert told([(0, failed()), (1, trained()), (2, failed())]) == []
    alerts = told([(0, failed()), (1, failed()), (2, failed()), (3, trained()), (4, failed()), (5, failed())])
    assert said(alerts) == [("training", "firing"), ("training", "resolved"), ("training", "firing")]
    assert alerts[0].alarm == alerts[1].alarm != alerts[2].alarm
    assert "2 runs in a row: no pairs Collect some." in alerts[0].sentence
    refused = [(n, event(e.CandidateRejected)) for n in range(2)]
    back = event(e.DeploymentChanged, change="rolled-back", reasons=("worse",))
    promoted = event(e.DeploymentChanged, change="promoted")
    assert said(told([*refused, (3, back), (4, promoted)])) == [("candidates", "firing"), ("candidates", "resolved")]
    by_hand = event(e.DeploymentChanged, change="rolled-back", who="ada")
    assert told([*refused, (3, by_hand)]) == [], "a person's rollback is no refusal"


def test_a_replica_has_a_minute_to_follow() -> None:
    deployed, tick = event(e.DeploymentChanged, revision=3), (lambda: event(e.Tick))
    here = event(e.ReplicaReported, replica="a", applied={MODEL: 3})
    late = event(e.ReplicaReported, replica="b", applied={MODEL: 2}, problems=("no room for it",))
    now = event(e.ReplicaReported, replica="b", applied={MODEL: 3})
    start = [(0, deployed), (1, here), (2, late)]
    assert told([*start, (59, tick())]) == []
    alerts = told([*start, (61, tick()), (63, tick()), (64, now), (65, tick())])
    assert said(alerts) == [("replica", "firing"), ("replica", "resolved")]
    assert alerts[0].sentence == "It is at revision 2, and 3 is deployed: no room for it."
    assert alerts[0].severity == "critical"
    sick = event(e.ReplicaReported, replica="a", applied={MODEL: 3}, healthy=False, problems=("out of memory",))
    assert said(told([(0, deployed), (1, sick), (61, tick())])) == [("replica", "firing")]
    vain = event(e.ReplicaReported, replica="a", applied={"default/other": 7, MODEL: 0}, problems=("no artifact",))
    alerts = told([(0, deployed), (1, vain), (61, tick()), (62, here), (63, tick())])
    assert said(alerts) == [("replica", "firing"), ("replica", "resolved")]
    assert alerts[0].sentence == "It is at revision 0, and 3 is deployed: no artifact."


@pytest.mark.parametrize(("end", "why"), [("stops", "It was stopped."), ("is silent", "it is gone")])
def test_a_replica_that_was_taken_away_leaves_no_alert_behind(end: str, why: str) -> None:
    late = event(e.ReplicaReported, replica="b", applied={MODEL: 2})
    ended = event(e.ReplicaReported, replica="b", applied={MODEL: 2}, stopped=True)
    over = (70, ended) if end == "stops" else (3700, event(e.Tick))
    alerts = told([(0, event(e.DeploymentChanged, revision=3)), (2, late), (61, event(e.Tick)), over])
    assert said(alerts) == [("replica", "firing"), ("replica", "resolved")]
    assert why in alerts[1].sentence
    again = [
        *[(0, event(e.DeploymentChanged, revision=3)), (2, late), (61, event(e.Tick)), over],
        (8000, event(e.Tick)),
    ]
    assert len(told(again)) == 2


def test_dead_letters_are_told_at_first_and_when_there_were_none_for_an_hour() -> None:
    letters = [(n * 600, event(e.DeadLetter)) for n in range(3)]
    alerts = told([*letters, (4000, event(e.Tick)), (4801, event(e.Tick)), (5000, event(e.DeadLetter))])
    assert said(alerts) == [("dead-letters", "firing"), ("dead-letters", "resolved"), ("dead-letters", "firing")]
    assert {alert.model for alert in alerts} == {LOOP}
    assert "3 in all" in alerts[1].sentence


def test_lag_is_told_when_it_lasts() -> None:
    def ticks(*behind: int) -> list[tuple[float, e.Event]]:
        return [(n * 2, event(e.Tick, behind=each)) for n, each in enumerate(behind)]

    assert told(ticks(*[60_000] * 4, 10, *[60_000] * 4)) == []
    assert said(told(ticks(*[60_000] * 9, 40_000, 20_000))) == [("lag", "firing"), ("lag", "resolved")]
    assert told([(0, event(e.Tick))] * 9) == [], "ticks of before say nothing of it"


def test_the_signature_is_that_of_standard_webhooks() -> None:
    # the example of the specification's reference libraries
    secret = secret_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signed_headers(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    "text", ["", "whsec_", "whsec_short", "not base64!", "whsec_" + base64.b64encode(b"k" * 65).decode()]
)
def test_a_secret_that_is_none_says_how_to_make_one(text: str) -> None:
    with pytest.raises(ValueError, match=r"docs/alerts\.md"):
        secret_of(text)


def alert(state: str = "firing") -> Alert:
    (found, *_) = told([(0, event(e.DriftDetected, sentence="Fell <!channel> & stayed."))])
    return found.model_copy(update={"state": state})


def test_cloudevents_are_read_by_the_official_sdk() -> None:
    content_type, body = body_of("cloudevents", alert(), "pawl-monitor-0", "http://console")
    found = from_structured_event(HTTPMessage(headers={"content-type": content_type}, body=body))
    assert found.get_id() == str(alert_id(body))
    assert (found.get_type(), found.get_subject(), found.get_time()) == ("pawl.alert.v1", MODEL, WHEN)
    data = found.get_data()
    assert isinstance(data, dict)
    assert (data["state"], data["kind"], data["console"]) == ("firing", "drift", "http://console")


def alert_id(body: bytes) -> UUID:
    return UUID(json.loads(body)["id"])


def test_slack_gets_a_text_that_mentions_nobody() -> None:
    _, body = body_of("slack", alert(), "pawl-monitor-0", "http://console")
    text = json.loads(body)["text"]
    assert text.startswith(":rotating_light: *Approval of default/assistant has drifted*")
    assert "&lt;!channel&gt; &amp; stayed" in text
    assert json.loads(body_of("slack", alert("resolved"), "", "")[1])["text"].startswith(":white_check_mark: *Resolved")


def test_alertmanager_gets_labels_that_stay_and_an_end() -> None:
    firing, resolved = (
        json.loads(body_of("alertmanager", alert(state), "", "http://c")[1])[0] for state in ("firing", "resolved")
    )
    assert firing["labels"].keys() == {"alertname", "alarm", "model", "severity"}
    assert firing["labels"]["alertname"] == "PawlDrift"
    assert (firing["startsAt"], firing["endsAt"]) == ("2026-03-01T12:30:15.250000Z", "2026-03-08T12:30:15.250000Z")
    assert resolved["endsAt"] == "2026-03-01T12:30:15.250000Z"


def test_the_signature_covers_id_time_and_body() -> None:
    headers = signed_headers(b"k" * 32, "1", 7, b"{}")
    expected = base64.b64encode(hmac.new(b"k" * 32, b"1.7.{}", hashlib.sha256).digest()).decode()
    assert headers == {"webhook-id": "1", "webhook-timestamp": "7", "webhook-signature": f"v1,{expected}"}
