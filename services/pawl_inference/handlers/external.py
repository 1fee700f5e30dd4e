"""Logs answers that were made elsewhere, by the same way as those that are made here: sealed, into the journal."""

from __future__ import annotations

from datetime import datetime
from random import Random
from typing import NamedTuple
from uuid import UUID

from pawl_inference import errors, metrics
from pawl_inference.bodies.external_body import ExternalAccepted, ExternalLogged, FeedbackToken
from pawl_inference.domain.assignment import model_id
from pawl_inference.domain.external import (
    AgeError,
    ExternalBatch,
    ExternalInference,
    Placed,
    TokenRequest,
    check_age,
    keyed_id,
    logged,
    told_time,
)
from pawl_inference.handlers.answering import AnswerPolicy
from pawl_inference.handlers.feedback import MAX_KEY
from pawl_inference.record.answer_log import AnswerLog
from pawl_inference.record.journal import JournalFullError
from pawl_shared.access.tokens import Grant, sign
from pawl_shared.clock import Clock
from pawl_shared.ids import uuid7
from pawl_shared.recent import Recent

# Repeats come within seconds or minutes; of answers whose time nobody told, so many keep that of their first post.
_REMEMBERED = 10_000


class _Made(NamedTuple):
    item: ExternalInference
    placed: Placed


class ExternalHandler:
    """Takes what an app tells of answers of others."""

    def __init__(self, policy: AnswerPolicy, answers: AnswerLog, *, clock: Clock, rng: Random) -> None:
        self._policy = policy
        self._answers = answers
        self._clock = clock
        self._rng = rng
        self._seen: Recent[UUID, datetime] = Recent(_REMEMBERED)

    def post(self, body: ExternalInference | ExternalBatch, idempotency_key: str | None) -> ExternalAccepted:
        """Journal what a post tells, all of it or, when one answer in it is wrong, nothing.

        Raises ApiError: 400, or 503 when the journal has no room; then a part may be in it, and a repeat with the same
        ids or Idempotency-Key counts once.
        """
        if idempotency_key is not None and not 1 <= len(idempotency_key) <= MAX_KEY:
            raise errors.invalid("Idempotency-Key", f"Idempotency-Key needs 1 to {MAX_KEY} characters.")
        items = body.inferences if isinstance(body, ExternalBatch) else [body]
        made = []
        for index, item in enumerate(items):
            try:
                made.append(_Made(item, self._placed(item, index, idempotency_key)))
            except AgeError as error:
                param = f"inferences[{index}].time" if isinstance(body, ExternalBatch) else "time"
                raise errors.invalid(param, f"Invalid value for '{param}': {error}.") from error
        self.refuse_if_full()
        return ExternalAccepted(accepted=len(made), inferences=[self._log(each, "post") for each in made])

    def span(self, item: ExternalInference) -> None:
        """Journal what a span tells; its id and time are in it. Raises AgeError, and ApiError when there is no room."""
        self._log(_Made(item, self._placed(item, 0, None)), "otlp")

    def refuse_if_full(self) -> None:
        """Raises ApiError when the journal takes nothing more."""
        if self._answers.full:
            raise errors.unavailable(
                "The journal is full, because the broker is away: nothing can be logged.", "journal_full"
            )

    def token(self, identity: UUID, asked: TokenRequest) -> FeedbackToken:
        """The right to rate an answer, for an app whose key may rate answers at all: as the session stands in the
        token, and nothing here remembers answers, the app names what fixes it, in the words in which it logged it.

        Raises ApiError: 400.
        """
        now = self._clock.now()
        time = asked.time or told_time(identity)
        if time is None and asked.user and not asked.named_session:
            text = "Missing required parameter: 'time'. Without a session it is the user's day that fixes it."
            raise errors.invalid("time", text, "missing_required_parameter")
        time = time or now
        try:
            check_age(time, now)
        except AgeError as error:
            raise errors.invalid("time", f"Invalid value for 'time': {error}.") from error
        placed = Placed(identity, time, asked.caller(self._policy.subject_key, identity, time))
        return self._token(asked.model, asked.choice, placed)

    def _placed(self, item: ExternalInference, index: int, key: str | None) -> Placed:
        now = self._clock.now()
        identity = item.id or (keyed_id(key, index, item) if key else uuid7(item.time or now, self._rng))
        time = item.time or told_time(item.id)
        if time is None:
            time = self._first(identity, now)
        check_age(time, now)
        return Placed(identity, time, item.caller(self._policy.subject_key, identity, time))

    def _first(self, identity: UUID, now: datetime) -> datetime:
        """A repeat keeps the time of the first post: duplicates are found by time bucket and id."""
        first = self._seen.look(identity) or now
        self._seen.put(identity, first)
        return first

    def _log(self, made: _Made, via: str) -> ExternalLogged:
        event = logged(made.item, made.placed, self._policy.source)
        try:
            self._answers.append(event)
        except JournalFullError as error:
            raise errors.unavailable(str(error), "journal_full") from error
        metrics.EXTERNAL.labels(via).inc()
        token = self._token(made.item.model, event.choice, made.placed)
        return ExternalLogged(**token.model_dump(), choice=event.choice, version=event.version)

    def _token(self, model: str, choice: int, placed: Placed) -> FeedbackToken:
        expires = placed.time + self._policy.token_lifetime
        caller = placed.caller
        grant = Grant(placed.id, choice, model_id(model), caller.session, caller.subject, expires)
        return FeedbackToken(id=placed.id, feedback_token=sign(self._policy.tokens, grant))
