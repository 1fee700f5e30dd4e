"""Posts of feedback: checked, published, and accepted when the broker has them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from random import Random

from pawl_inference import errors, metrics
from pawl_inference.domain.feedback import FeedbackItem, Receipt, to_events
from pawl_inference.publisher import Publisher
from pawl_inference.schemas import FeedbackAccepted, FeedbackBatch
from pawl_shared import codec, sealing
from pawl_shared.bus import Partition
from pawl_shared.clock import Clock
from pawl_shared.errors import BusError
from pawl_shared.events import FeedbackReceived
from pawl_shared.sealed_events import all_sealed
from pawl_shared.tokens import KeyRing, TokenError, mark

MAX_KEY = 255
# Repeats come within seconds or minutes; at 1,000 posts a second this remembers ten.
_REMEMBERED = 10_000


class FeedbackHandler:
    """Awaits the broker without blocking the event loop."""

    def __init__(
        self,
        tokens: KeyRing,
        texts: sealing.KeyRing,
        publisher: Publisher,
        *,
        source: str,
        timeout: float,
        clock: Clock,
        rng: Random,
    ) -> None:
        self._tokens = tokens
        self._texts = texts
        self._publisher = publisher
        self._source = source
        self._timeout = timeout
        self._clock = clock
        self._rng = rng
        self._seen: OrderedDict[str, datetime] = OrderedDict()
        # send() waits where too many are outstanding: four threads may wait, more callers queue behind them.
        self._senders = ThreadPoolExecutor(4, "feedback-sender")

    async def post(self, body: FeedbackItem | FeedbackBatch, idempotency_key: str | None) -> FeedbackAccepted:
        """Publish what a post says. Raises ApiError: 400, 403, or 503 when the broker did not take it in time."""
        if idempotency_key is not None and not 1 <= len(idempotency_key) <= MAX_KEY:
            raise errors.invalid("Idempotency-Key", f"Idempotency-Key needs 1 to {MAX_KEY} characters.")
        receipt = Receipt(self._received(idempotency_key), self._source, idempotency_key)
        items = body.events if isinstance(body, FeedbackBatch) else [body]
        made: list[FeedbackReceived] = []
        for index, item in enumerate(items):
            try:
                made += to_events(self._tokens, item, receipt, self._rng)
            except TokenError as error:
                where = f"events[{index}]: " if isinstance(body, FeedbackBatch) else ""
                raise errors.forbidden(f"{where}{error}") from error
        await self._publish(made)
        for event in made:
            metrics.FEEDBACK.labels(event.kind).inc()
        return FeedbackAccepted(accepted=len(made), ids=[str(event.id) for event in made])

    def close(self) -> None:
        """Disconnect."""
        self._senders.shutdown(wait=False, cancel_futures=True)
        self._publisher.close()

    def _received(self, idempotency_key: str | None) -> datetime:
        """A repeat keeps the time of the first post: duplicates are found by time bucket and id."""
        now = self._clock.now()
        if idempotency_key is None:
            return now
        first = self._seen.setdefault(idempotency_key, now)
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return first

    async def _publish(self, made: Sequence[FeedbackReceived]) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout):
                sent = await loop.run_in_executor(self._senders, self._send, made)
                await asyncio.gather(*(asyncio.wrap_future(future) for future in sent))
        except BusError as error:
            loop.run_in_executor(self._senders, self._publisher.reset)
            raise self._refused(str(error)) from error
        except TimeoutError as error:
            raise self._refused(f"no acknowledgement for {self._timeout:.0f} s") from error

    def _send(self, made: Sequence[FeedbackReceived]) -> list[Future[Partition]]:
        """A key that is made for a correction or comment is acknowledged by the broker before anything is sent."""
        messages = [mark(self._tokens, codec.encode(event)) for event in all_sealed(made, self._texts)]
        return [self._publisher.send(message) for message in messages]

    def _refused(self, reason: str) -> errors.ApiError:
        text = f"The feedback was not stored ({reason}); post it again with the same Idempotency-Key."
        return errors.unavailable(text, "broker_unavailable")
