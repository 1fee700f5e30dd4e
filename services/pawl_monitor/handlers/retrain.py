"""The effect behind a retraining run: count the feedback, decide, freeze the snapshot, ask for the run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from uuid import NAMESPACE_OID, UUID, uuid5

from pawl_monitor.domain.trigger_state import Usable
from pawl_monitor.domain.triggers import Reason
from pawl_monitor.handlers.folds import Weighing
from pawl_monitor.storage import datasets
from pawl_monitor.storage.counting import Counting
from pawl_monitor.storage.reader import Reader
from pawl_monitor.storage.texts import Texts
from pawl_shared import logging
from pawl_shared.artifacts import ArtifactStore
from pawl_shared.events import Event, RetrainRequested
from pawl_shared.ids import derived_id
from pawl_shared.running.effects import EffectContext
from pawl_shared.stores.port import Effect


class Feedback(Protocol):
    """Where what people said is kept, and data sets are frozen."""

    def usable(self, request: datasets.Request) -> Usable:
        """What a data set for this request would hold, counted."""

    def collect(self, request: datasets.Request) -> list[datasets.Line]:
        """The rows that a data set for this request has."""

    def freeze(self, lines: datasets.Lines, request: datasets.Request) -> str:
        """Keep them for ever; answers the digest."""


class StoredFeedback:
    """In the monitor's database and the artifact store."""

    def __init__(self, reader: Reader, artifacts: ArtifactStore, texts: Texts, counting: Counting) -> None:
        self._reader, self._artifacts, self._texts, self._counting = reader, artifacts, texts, counting

    def usable(self, request: datasets.Request) -> Usable:
        return self._counting.usable(request)

    def collect(self, request: datasets.Request) -> list[datasets.Line]:
        with self._reader.cursors.one() as cursor:
            return datasets.collect(cursor, request, self._texts)

    def freeze(self, lines: datasets.Lines, request: datasets.Request) -> str:
        return datasets.freeze(lines, request, self._artifacts)


class WeighFeedback:
    """Handles effects of kind `weigh`. Ends in RetrainRequested, or in nothing when there is not enough yet.

    The request's id and time come from the occasion and the number of the attempt: were it asked for twice, as after a
    crash, it is one run.
    """

    def __init__(self, feedback: Feedback, source: str) -> None:
        self._feedback, self._source = feedback, source
        self._log = logging.get("pawl.monitor")
        self._asked: set[UUID] = set()

    def __call__(self, effect: Effect, context: EffectContext) -> Sequence[Event]:
        weighing = Weighing.model_validate_json(effect.payload)
        identity = request_id(weighing)
        if identity in self._asked:  # owed before the fold had heard of the request
            return ()
        request = request_of(weighing)
        if not weighing.by.decide(weighing.trigger, self._feedback.usable(request), weighing.now).fire:
            return ()
        lines = self._feedback.collect(request)
        decision = weighing.by.decide(weighing.trigger, datasets.usable(lines), weighing.now)
        if not decision.fire:
            return ()
        digest = self._feedback.freeze(lines, request)
        self._asked.add(identity)
        self._log.info("retraining requested", model=weighing.model, dataset=digest, why=decision.sentence)
        return (retrain_request(weighing, lines, decision.reasons, digest, self._source),)


def retrain_request(
    weighing: Weighing, lines: datasets.Lines, reasons: Sequence[Reason], dataset: str, source: str
) -> RetrainRequested:
    """The request in which a weighing of these rows ends; `dataset` holds them."""
    occasion = weighing.trigger.occasion
    assert occasion is not None, "only an occasion is weighed"
    return RetrainRequested(
        id=request_id(weighing),
        time=request_time(weighing),
        source=source,
        cause=occasion.cause or occasion.alarm,
        model=weighing.model,
        alarm=occasion.alarm,
        dataset=dataset,
        base=weighing.base,
        parent=weighing.parent,
        recipe=occasion.recipe,
        counts=datasets.counts(lines),
        reasons=tuple(reason.sentence for reason in reasons),
        policy=weighing.policy,
    )


def request_id(weighing: Weighing) -> UUID:
    """The id of the request that a weighing may end in."""
    occasion = weighing.trigger.occasion
    assert occasion is not None, "only an occasion is weighed"
    place = (weighing.model, str(occasion.alarm or occasion.since), weighing.trigger.attempts)
    cause = occasion.alarm or uuid5(NAMESPACE_OID, "/".join(map(str, place)))
    return derived_id(cause, f"{RetrainRequested.TYPE}/{weighing.trigger.attempts}")


def request_time(weighing: Weighing) -> datetime:
    """The time of that request: since when it could be asked for, the same for every weighing of one attempt.

    The moment of the weighing would be another one after a restart, and readers tell copies by their id and hour.
    """
    occasion, ended = weighing.trigger.occasion, weighing.trigger.ended
    if occasion is None or occasion.time is None:  # state of before occasions had a time
        return weighing.now
    return max(occasion.time, ended) if ended else occasion.time


def request_of(weighing: Weighing) -> datasets.Request:
    """The snapshot that an occasion asks for: data since it began, so that the old taste does not dilute the new."""
    occasion = weighing.trigger.occasion
    assert occasion is not None, "only an occasion has data"
    return datasets.Request(
        model=weighing.model,
        since=occasion.since,
        until=weighing.now,
        base=weighing.base,
        parent=weighing.parent,
        alarm=occasion.alarm,
        heldout_share=weighing.by.heldout_share,
    )
