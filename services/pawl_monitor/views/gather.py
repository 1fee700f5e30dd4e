"""Reads the database and puts views together; the only part of the views that does I/O."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from math import ceil, floor
from typing import Any

from pawl_monitor import metrics
from pawl_monitor.domain.intervals import Estimate, estimate
from pawl_monitor.domain.trigger_state import TriggerState, Usable
from pawl_monitor.domain.triggers import Reason, TriggerDecision
from pawl_monitor.domain.watch import NOT_DEPLOYED, WatchPolicy
from pawl_monitor.domain.watched import Watched
from pawl_monitor.storage import datasets
from pawl_monitor.storage.counting import Counting
from pawl_monitor.storage.reader import HOUR_SECONDS, Reader
from pawl_monitor.views import overview as o
from pawl_monitor.views.alarms import ALARM_TYPES, Alarm, alarms_of, rate_of
from pawl_monitor.views.charts import Chart, evidence_of, marks_of, points_of
from pawl_monitor.views.experiments import experiment_of
from pawl_monitor.views.runs import MOST_PROGRESS, MOST_STEPS, PROGRESS, STEPS, Run, runs_of
from pawl_monitor.views.story import UNTOLD, story_of
from pawl_monitor.views.versions import VERSION_TYPES, Version, versions_of
from pawl_shared import events as e
from pawl_shared.errors import KeysUnreadableError

Fact = dict[str, Any]
RECENT = timedelta(minutes=1)
WINDOW = 50
# Among models, which all have a tenant, no name.
OTHER = "other"
# Buckets of the chart: fewer sessions in one would draw noise.
FEWEST, MOST, PER_BUCKET = 8, 72, 14


class Gather:
    """Answers for the API and the console. `policy`: of models for which nothing is configured."""

    def __init__(self, reader: Reader, counting: Counting, policy: WatchPolicy) -> None:
        self.reader, self._counting, self._policy = reader, counting, policy
        self._measured: set[str] = set()

    def overview(self, model: str, now: datetime) -> o.Overview:
        """Everything the first page shows."""
        state = self.reader.watched(model)
        alarms, runs = self.alarms(model), self.runs(model)
        deployments = self.deployments(model)
        deployment = deployments[0] if deployments else None
        observations = self.reader.records(model, (e.CanaryObserved.TYPE,), 20)
        counts = o.Counts(**self.counts(model, now))
        trigger, usable = self.trigger(model, now, state)
        reference = o.reference_of(state, self._governing(state))
        canary = o.canary_of(deployment, observations)
        paused, versions = state.trigger.paused if state else "", self.versions(model)
        run = runs[0] if runs else None
        served = o.served_of(deployment)
        return o.Overview(
            model=model,
            policy=(state.digest if state else None) or "",
            now=now,
            headline=o.headline_of(counts, reference, alarms, trigger, paused, run, canary, versions),
            counts=counts,
            served=served,
            approval=rate_of(
                self._watched(model, state)
                if state and state.elsewhere
                else self.approval(model, served.champion, "champion")
            ),
            window=WINDOW,
            reference=reference,
            alarms=alarms,
            trigger=trigger,
            usable=usable,
            run=run,
            canary=canary,
            replicas=o.replicas_of(self.reader.replicas(), model, now),
            versions=versions,
            experiment=experiment_of(deployments, self.reader.records(model, (e.ExperimentObserved.TYPE,), 1)),
            story=story_of(self.reader.records(model, limit=200, without=UNTOLD)),
            chart=self.chart(model, alarms),
        )

    def counts(self, model: str, now: datetime) -> Fact:
        """Answers, feedback and sessions, in all and lately."""
        return self.reader.counts(model, now - RECENT)

    def alarms(self, model: str) -> list[Alarm]:
        """All alarms, the latest first."""
        alarms = alarms_of(self.reader.records(model, ALARM_TYPES))
        if not any(alarm.review for alarm in alarms):
            return alarms
        done = self.reader.review_counts(model)
        return [alarm.model_copy(update={"reviewed": done.get(alarm.review or "", 0)}) for alarm in alarms]

    def runs(self, model: str) -> list[Run]:
        """The latest runs, the newest first."""
        steps = self.reader.records(model, STEPS, MOST_STEPS)
        return runs_of([*steps, *self.reader.records(model, PROGRESS, MOST_PROGRESS)])

    def versions(self, model: str) -> list[Version]:
        """All versions with their stages and live figures, the latest that moved first."""
        return versions_of(self.reader.records(model, VERSION_TYPES, 5000), self.reader.live(model))

    def deployments(self, model: str) -> list[Fact]:
        """Deployments, the highest revision first."""
        found = self.reader.records(model, (e.DeploymentChanged.TYPE,))
        return sorted(found, key=lambda record: -record["value"]["revision"])

    def approval(self, model: str, version: str | None, arm: str) -> Estimate | None:
        """Mean reward of the latest rated sessions of a version; None when nobody rated one."""
        if version is None:
            return None
        rewards = self.reader.recent_rewards(model, version, arm, datetime.fromtimestamp(0, UTC), WINDOW)
        return estimate(sum(rewards), len(rewards))

    def _watched(self, model: str, state: Watched | None) -> Estimate | None:
        """Of what the detectors watch: the champion, or what other providers answer."""
        if state is None:
            return None
        return self.approval(model, state.version, "external" if state.elsewhere else "champion")

    def trigger(self, model: str, now: datetime, state: Watched | None) -> tuple[TriggerDecision, Usable]:
        """What the trigger policy says now, with the feedback that it would weigh."""
        trigger = state.trigger if state else TriggerState()
        policy = self._governing(state).trigger
        if state is not None and state.elsewhere and state.champion is None:
            reason = Reason(name="deployed", holds=False, sentence=NOT_DEPLOYED.rstrip("."))
            return TriggerDecision(fire=False, reasons=(reason,)), Usable()
        if trigger.occasion is None:  # feedback counts from the moment that an alarm names
            return TriggerDecision(fire=False, reasons=policy.standing(trigger, now)), Usable()
        request = datasets.Request(
            model=model, since=trigger.occasion.since, until=now, base="", heldout_share=policy.heldout_share
        )
        try:
            usable = self._counting.usable(request)
        except KeysUnreadableError as error:
            reason = Reason(name="keys", holds=False, sentence=f"texts stay sealed: {error}")
            return TriggerDecision(fire=False, reasons=(reason,)), Usable()
        return policy.decide(trigger, usable, now), usable

    def usable(self, model: str, now: datetime, heldout_share: float) -> list[tuple[datetime, str]]:
        """When feedback was given that a run could use, and as what it counts. Raises KeysUnreadableError."""
        request = datasets.Request(model, datetime.fromtimestamp(0, UTC), now, "", heldout_share=heldout_share)
        return self._counting.times(request)

    def measure(self) -> None:
        """Bring the gauges up to date, when they are asked for. Models that are not shown by name are one, `other`."""
        names, others = self.reader.models.shown()
        shown = {*names, *([OTHER] if others else [])}
        for gauge, model in ((gauge, model) for gauge in metrics.OF_MODELS for model in self._measured - shown):
            with suppress(KeyError):  # it had no value
                gauge.remove(model)
        self._measured = shown
        if others:
            metrics.OPEN_ALARMS.labels(OTHER).set(self.reader.models.open_alarms_beyond(names))
        for model in names:
            state = self.reader.watched(model)
            rate = self._watched(model, state)
            metrics.EVIDENCE.labels(model).set(o.reference_of(state, self._governing(state)).evidence)
            metrics.OPEN_ALARMS.labels(model).set(sum(alarm.open for alarm in self.alarms(model)))
            if rate is not None:
                metrics.APPROVAL.labels(model).set(rate.point)

    def chart(self, model: str, alarms: list[Alarm]) -> Chart:
        """Approval over time with what happened."""
        span = self.reader.span(model)
        if span is None:
            return Chart()
        start, end, rated = span
        buckets = max(FEWEST, min(MOST, rated // PER_BUCKET))
        width = max((end - start) / buckets, 1.0)
        if width > HOUR_SECONDS:  # whole hours, as the rollups have them
            width, start = ceil(width / HOUR_SECONDS) * HOUR_SECONDS, floor(start / HOUR_SECONDS) * HOUR_SECONDS
            buckets = floor((end - start) / width) + 1
        rows = self.reader.series(model, start, width, buckets)
        records = self.reader.records(model, (e.RetrainRequested.TYPE, e.DeploymentChanged.TYPE))
        return Chart(
            # One line: what answers now, be it here or elsewhere.
            champion=points_of(rows, ("champion", "external"), start, width),
            challenger=points_of(rows, ("challenger",), start, width),
            marks=marks_of(records, alarms),
            evidence=evidence_of(self.reader.detector(model)),
        )

    def detectors(self, state: Watched | None) -> dict[str, str]:
        """What is proven of each detector's false alarms, by its name; or why it is off."""
        return self._governing(state).guarantees

    def _governing(self, state: Watched | None) -> WatchPolicy:
        return self._policy.governing(state) if state else self._policy
