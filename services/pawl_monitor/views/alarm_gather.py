"""Reads what the pages of one alarm and of its review show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from pawl_monitor.domain.intervals import estimate
from pawl_monitor.storage.reader import TRACES, Reader
from pawl_monitor.storage.texts import Texts
from pawl_monitor.views.alarms import ALARM_TYPES, Alarm, alarms_of
from pawl_monitor.views.charts import Chart, Mark, trace_of
from pawl_monitor.views.reviews import Review, ReviewPage, items_of, review_of
from pawl_shared.events import DeploymentChanged, DriftDetected, ReviewRequested

Fact = dict[str, Any]


class Deployment(BaseModel):
    """One that was near an alarm's start."""

    revision: int
    change: str
    time: datetime
    who: str


class AlarmPage(BaseModel):
    """Everything about one alarm. `prompts`: the last prompt of each example, opened, by the answer's id; those that
    are kept. `chart`: its evidence, session by session, up to the alarm."""

    alarm: Alarm
    model: str
    deployed: list[Deployment]
    prompts: dict[str, str]
    review: Review | None
    chart: Chart


class AlarmGather:
    """Answers for the pages of alarms and reviews. Texts are opened; they may raise KeysUnreadableError."""

    def __init__(self, reader: Reader, texts: Texts) -> None:
        self._reader, self._texts = reader, texts

    def page(self, identity: UUID) -> AlarmPage | None:
        """One alarm; none when it is not known."""
        record = self._reader.record(identity, DriftDetected.TYPE)
        if record is None:
            return None
        model = record["model"]
        alarm = next(a for a in alarms_of([record, *self._later(model, identity)]) if a.alarm == str(identity))
        review = self._reader.record(UUID(alarm.review), ReviewRequested.TYPE) if alarm.review else None
        examples = [*alarm.examples, *(example for group in alarm.clusters for example in group.examples)]
        return AlarmPage(
            alarm=alarm,
            model=model,
            deployed=self._deployed(model, alarm.deployments),
            prompts={name: _prompt(answer) for name, answer in self._opened(model, examples, {}).items()},
            review=self._review(review) if review else None,
            chart=self._chart(model, alarm),
        )

    def reviews(self, model: str) -> list[Review]:
        """All reviews of a model, the latest first."""
        return [self._review(record) for record in self._reader.records(model, (ReviewRequested.TYPE,))]

    def review(self, identity: UUID) -> ReviewPage | None:
        """One review with its answers; none when it is not known."""
        record = self._reader.record(identity, ReviewRequested.TYPE)
        if record is None:
            return None
        said: dict[str, list[Fact]] = {}
        for row in self._reader.reviewed(identity):
            said.setdefault(str(row["inference_id"]), []).append(row)
        ids = [item["inference_id"] for item in record["value"]["items"]]
        answers = self._opened(record["model"], ids, said)
        return ReviewPage(review=self._review(record), answers=items_of(record, answers))

    def asked(self, review: UUID, inference_id: UUID) -> Fact | None:
        """The answer that a review asks about; none when it does not, or when it is not kept any more."""
        record = self._reader.record(review, ReviewRequested.TYPE)
        if record is None or str(inference_id) not in {item["inference_id"] for item in record["value"]["items"]}:
            return None
        return self._reader.answers(record["model"], [str(inference_id)]).get(str(inference_id))

    def _later(self, model: str, identity: UUID) -> list[Fact]:
        later = self._reader.records(model, ALARM_TYPES[1:])
        return [record for record in later if record["value"]["alarm"] == str(identity)]

    def _review(self, record: Fact) -> Review:
        value = record["value"]
        since = datetime.fromisoformat(value["since"])
        before = estimate(*self._reader.approval_until(record["model"], value["version"], since))
        return review_of(record, self._reader.reviewed(record["event_id"]), before)

    def _opened(self, model: str, ids: Sequence[str], said: Mapping[str, list[Fact]]) -> dict[str, Fact]:
        found = self._reader.answers(model, ids)
        opened = self._texts.interactions([row | {"feedback_events": said.get(n, [])} for n, row in found.items()])
        return {str(answer["inference_id"]): answer for answer in opened}

    def _deployed(self, model: str, ids: Sequence[str]) -> list[Deployment]:
        found = [row for row in self._reader.records(model, (DeploymentChanged.TYPE,)) if str(row["event_id"]) in ids]
        names = ("revision", "change", "who")
        return [Deployment(time=row["time"], **{name: row["value"][name] for name in names}) for row in found]

    def _chart(self, model: str, alarm: Alarm) -> Chart:
        kind = alarm.detector.partition("/")[0]
        name = f"approval {alarm.direction}" if kind == "approval" else kind
        known = self._reader.trace(model, alarm.version, name, alarm.time) if name in TRACES else []
        evidence = trace_of(known)
        mark = Mark(time=alarm.since.timestamp(), kind="drift", label="likely start")
        return Chart(evidence=evidence, marks=[mark])


def _prompt(answer: Fact) -> str:
    """What was asked last."""
    asked = [turn["content"] for turn in answer["messages"] if turn["role"] == "user"]
    return asked[-1] if asked else ""
