"""What reviewers say, published like any feedback: on pawl.feedback, sealed, under the edge's mark. The monitor is the
edge of reviews, as its console is where they are written; whatever it knows of them it reads from the log again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from pawl_shared import codec
from pawl_shared.access.tokens import KeyRing, mark
from pawl_shared.clock import Clock
from pawl_shared.events import FeedbackReceived
from pawl_shared.ids import derived_id
from pawl_shared.sealed import text as sealing
from pawl_shared.sealed.events import all_sealed
from pawl_shared.sealed.topic_keys import Keep

MAX_TEXT = 65_536
Correction = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_TEXT)]


class Judgement(BaseModel):
    """What a reviewer says of one answer. `post`: made by the page, so that a repeat counts once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    post: UUID
    thumb: Literal["up", "down"] | None = None
    correction: Correction | None = None
    who: str = Field(default="console", min_length=1, max_length=200)

    @model_validator(mode="after")
    def _says_something(self) -> Judgement:
        if self.thumb is None and self.correction is None:
            raise ValueError("needs a thumb or a correction")
        return self


class Reviewing:
    """Publishes judgements; returns when the broker has them."""

    def __init__(self, publish: Keep, tokens: KeyRing, texts: sealing.KeyRing, clock: Clock, source: str) -> None:
        self._publish, self._tokens, self._texts, self._clock, self._source = publish, tokens, texts, clock, source

    def say(self, review: UUID, answer: dict[str, Any], judgement: Judgement) -> Sequence[UUID]:
        """Ids of what was published about an answer of the review. Raises BusError: it may not be stored."""
        events = [self._event(review, answer, judgement, *each) for each in _statements(judgement)]
        self._publish([mark(self._tokens, codec.encode(event)) for event in all_sealed(events, self._texts)])
        return [event.id for event in events]

    def _event(
        self,
        review: UUID,
        answer: dict[str, Any],
        judgement: Judgement,
        kind: Literal["thumb", "correction"],
        value: float | None,
        text: str | None,
    ) -> FeedbackReceived:
        place = f"{answer['inference_id']}/{answer['choice']}/{judgement.post}/{kind}"
        return FeedbackReceived(
            id=derived_id(review, place),
            time=self._clock.now(),
            source=self._source,
            cause=review,
            inference_id=answer["inference_id"],
            choice=answer["choice"],
            model=answer["model"],
            session=answer["session"],
            subject=answer["subject"],
            kind=kind,
            value=value,
            text=text,
            review=review,
            who=judgement.who,
        )


def _statements(said: Judgement) -> list[tuple[Literal["thumb", "correction"], float | None, str | None]]:
    found: list[tuple[Literal["thumb", "correction"], float | None, str | None]] = []
    if said.thumb is not None:
        found.append(("thumb", float(said.thumb == "up"), None))
    if said.correction is not None:
        found.append(("correction", None, said.correction))
    return found
