"""The effect behind a retraining run: count the feedback, decide, freeze the snapshot, ask for the run."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import NAMESPACE_OID, uuid5

from pawl_monitor import datasets
from pawl_monitor.domain.triggers import TriggerPolicy
from pawl_monitor.handlers.folds import Weighing
from pawl_monitor.reader import Reader
from pawl_monitor.texts import Texts
from pawl_shared import logging
from pawl_shared.artifacts import ArtifactStore
from pawl_shared.effects import EffectContext
from pawl_shared.events import Event, RetrainRequested
from pawl_shared.ids import derived_id
from pawl_shared.stores.port import Effect


class WeighFeedback:
    """Handles effects of kind `weigh`. Ends in RetrainRequested, or in nothing when there is not enough yet.

    The request's id comes from the occasion and the number of the attempt: were it asked for twice, it is one run.
    """

    def __init__(
        self,
        reader: Reader,
        artifacts: ArtifactStore,
        texts: Texts,
        policy: TriggerPolicy,
        heldout_share: float,
        source: str,
    ) -> None:
        self._reader, self._artifacts, self._texts, self._policy = reader, artifacts, texts, policy
        self._heldout_share, self._source = heldout_share, source
        self._log = logging.get("pawl.monitor")
        self._asked: set[tuple[str, str, int]] = set()

    def __call__(self, effect: Effect, context: EffectContext) -> Sequence[Event]:
        weighing = Weighing.model_validate_json(effect.payload)
        occasion = weighing.trigger.occasion
        assert occasion is not None, "only an occasion is weighed"
        place = (weighing.model, str(occasion.alarm or occasion.since), weighing.trigger.attempts)
        if place in self._asked:  # owed before the fold had heard of the request
            return ()
        request = request_of(weighing, self._heldout_share)
        with self._reader.cursor() as cursor:
            lines = datasets.collect(cursor, request, self._texts)
        decision = self._policy.decide(weighing.trigger, datasets.usable(lines), weighing.now)
        if not decision.fire:
            return ()
        digest = datasets.freeze(lines, request, self._artifacts)
        self._asked.add(place)
        self._log.info("retraining requested", model=weighing.model, dataset=digest, why=decision.sentence)
        cause = occasion.alarm or uuid5(NAMESPACE_OID, "/".join(map(str, place)))
        return (
            RetrainRequested(
                id=derived_id(cause, f"{RetrainRequested.TYPE}/{weighing.trigger.attempts}"),
                time=weighing.now,
                source=self._source,
                cause=occasion.alarm,
                model=weighing.model,
                alarm=occasion.alarm,
                dataset=digest,
                base=weighing.base,
                parent=weighing.parent,
                counts=datasets.counts(lines),
                reasons=tuple(reason.sentence for reason in decision.reasons),
            ),
        )


def request_of(weighing: Weighing, heldout_share: float) -> datasets.Request:
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
        heldout_share=heldout_share,
    )
