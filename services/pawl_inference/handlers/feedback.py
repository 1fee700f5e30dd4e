"""Posts of feedback: checked, published, and accepted when the broker has them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from random import Random
from uuid import UUID

from pawl_inference import errors, metrics
from pawl_inference.bodies.schemas import FeedbackAccepted, FeedbackBatch
from pawl_inference.domain.feedback import ComparisonError, FeedbackItem, Receipt, to_events
from pawl_inference.record.feedback_sender import FeedbackSender
from pawl_shared import codec
from pawl_shared.access.tokens import KeyRing, TokenError, mark
from pawl_shared.buses.port import Message
from pawl_shared.clock import Clock
from pawl_shared.errors import BusError
from pawl_shared.events import FeedbackReceived
from pawl_shared.recent import Recent
from pawl_shared.sealed import text as sealing
from pawl_shared.sealed.events import all_sealed

MAX_KEY = 255
# Repeats come within seconds or minutes; at 1,000 posts a second this remembers ten.
_REMEMBERED = 10_000
# Making and sending one takes 0.1 ms: more of them would keep answers waiting, so they go by a thread.
MANY = 200
_EVENT_BYTES = 1_000


class FeedbackHandler:
    """Awaits the broker without blocking the event loop."""

    def __init__(
        self,
        tokens: KeyRing,
        texts: sealing.KeyRing,
        sender: FeedbackSender,
        *,
        source: str,
        clock: Clock,
        rng: Random,
    ) -> None:
        self._tokens = tokens
        self._texts = texts
        self._sender = sender
        self._source = source
        self._clock = clock
        self._rng = rng
        self._seen: Recent[tuple[str, UUID], datetime] = Recent(_REMEMBERED)

    async def post(self, body: FeedbackItem | FeedbackBatch, idempotency_key: str | None) -> FeedbackAccepted:
        """Publish what a post says. Raises ApiError: 400, 403, or 503 when the broker did not take it in time."""
        if idempotency_key is not None and not 1 <= len(idempotency_key) <= MAX_KEY:
            raise errors.invalid("Idempotency-Key", f"Idempotency-Key needs 1 to {MAX_KEY} characters.")
        items = body.events if isinstance(body, FeedbackBatch) else [body]
        receipt = Receipt(self._received(idempotency_key, items[0].inference_id), self._source, idempotency_key)
        made: list[FeedbackReceived] = []
        for index, item in enumerate(items):
            try:
                made += to_events(self._tokens, item, receipt, self._rng)
            except TokenError as error:
                where = f"events[{index}]: " if isinstance(body, FeedbackBatch) else ""
                raise errors.forbidden(f"{where}{error}") from error
            except ComparisonError as error:
                param = f"events[{index}].comparison" if isinstance(body, FeedbackBatch) else "comparison"
                raise errors.invalid(param, f"Invalid value for '{param}': {error}.") from error
        await self._publish(made)
        for kind, count in Counter(event.kind for event in made).items():
            metrics.FEEDBACK.labels(kind).inc(count)
        return FeedbackAccepted(accepted=len(made), ids=[str(event.id) for event in made])

    def close(self) -> None:
        """Disconnect."""
        self._sender.close()

    def _received(self, idempotency_key: str | None, answer: UUID) -> datetime:
        """A repeat keeps the time of the first post: duplicates are found by time bucket and id. Apps number their
        posts in their own ways, so a key stands for the answer it came with."""
        now = self._clock.now()
        if idempotency_key is None:
            return now
        first = self._seen.look((idempotency_key, answer)) or now
        self._seen.put((idempotency_key, answer), first)
        return first

    async def _publish(self, made: Sequence[FeedbackReceived]) -> None:
        texts = sum(len(event.text) for event in made if event.text is not None)
        # A key that is made for a correction or comment is acknowledged by the broker before anything is sent.
        slow = texts > 0 or len(made) > MANY
        size = 2 * texts + _EVENT_BYTES * len(made)
        try:
            await self._sender.publish(lambda: self._messages(made), len(made), size, slow=slow)
        except BusError as error:
            raise errors.unavailable(
                f"The feedback is not known to be stored ({error}); post it again, with the same Idempotency-Key, so "
                "that it counts once in any case.",
                "broker_unavailable",
            ) from error

    def _messages(self, made: Sequence[FeedbackReceived]) -> list[Message]:
        return [mark(self._tokens, codec.encode(event)) for event in all_sealed(made, self._texts)]
