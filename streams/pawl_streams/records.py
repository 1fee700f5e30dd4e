"""Records of the two input topics, a batch at a time: which states they change and what is published. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from pawl_shared import logging, metrics, topics
from pawl_shared.access.tokens import KeyRing, is_marked, mark
from pawl_shared.buses.port import Message, Record
from pawl_shared.codec import decode, encode, header
from pawl_shared.dead_letter import dead_letter, is_retry
from pawl_shared.errors import DecodeError, PawlError
from pawl_shared.events import FeedbackReceived, InferenceLogged, InteractionScored
from pawl_shared.sealed.events import all_sealed, opened, resealed
from pawl_shared.sealed.text import KeyRing as TextRing
from pawl_streams.direct import admit
from pawl_streams.fold import JoinFold, Stored
from pawl_streams.metrics import DIRECT, JOINS, SCRUBBED
from pawl_streams.ownership import floor, handled, place_key
from pawl_streams.settings import SERVICE

log = logging.get(f"pawl.{SERVICE}")


class Batch:
    """What a batch of records amounts to. One that cannot be read or folded is a dead letter, and harms no other.

    tokens: check and mark feedback. texts: open what is sealed, and seal what leaves; nowhere else is text open.
    """

    def __init__(self, fold: JoinFold, tokens: KeyRing, texts: TextRing, stored: Callable[[str], Stored]) -> None:
        self.states: dict[str, dict[str, Any]] = {}
        self.messages: list[Message] = []
        self._fold, self._tokens, self._texts, self._stored = fold, tokens, texts, stored

    def add(self, record: Record, taken: Sequence[int] = ()) -> datetime | None:
        """Take in one record; answers its event's time, or None if it was no event for the join.

        taken: the epoch in which this worker took the partition over, if another one may have handled the record.

        Raises:
            BusError: a key of its texts cannot be had yet.
            PawlError: nothing can be handled, such as without the master key.
        """
        if is_retry(record):
            metrics.RETRIES.labels(SERVICE, record.topic).inc()
        time = self._add(record, taken)
        # Also after what changes no answer: the next owner counts a batch's records from here, whatever they were.
        place = place_key(record.partition)
        self.states[place] = handled(record, self._look(place))
        return time

    def _add(self, record: Record, taken: Sequence[int]) -> datetime | None:
        try:
            trace = header(record.headers, "traceparent")
            if record.topic == topics.FEEDBACK.name and not is_marked(self._tokens, record):
                self._admit(record, trace)
                return None
            arrival = decode(record)
            if not isinstance(arrival, InferenceLogged | FeedbackReceived):
                raise DecodeError(f"{arrival.TYPE} does not belong on {record.topic}")
            self._join(record, arrival, trace, taken)
        except DecodeError as error:
            self._refuse(record, str(error))
            return None
        except PawlError:
            raise
        except Exception as error:
            log.exception("a record could not be handled", topic=record.topic, offset=record.offset)
            self._refuse(record, f"a bug in streams: {type(error).__name__}: {error}")
            return None
        return arrival.time

    def _look(self, key: str) -> Stored:
        return self.states.get(key) or self._stored(key)

    def _join(
        self, record: Record, arrival: InferenceLogged | FeedbackReceived, trace: str | None, taken: Sequence[int]
    ) -> None:
        folded = self._fold.step(self._look, opened(arrival, self._texts), record.appended, floor(taken))
        first, *others = folded.revisions
        again = self._fold.again(folded, taken) if taken else ()
        messages = [encode(revision, trace) for revision in (self._sealed(arrival, first), *others, *again)]
        for key, state in folded.states.items():
            self.states[key] = {**state, "partition": record.partition}
        self.messages += messages
        for kind, number in folded.revisions[0].scrubbed.items():
            SCRUBBED.labels(arrival.model, kind).inc(number)
        JOINS.labels(folded.outcome).inc()
        metrics.RECORDS.labels(SERVICE, record.topic, "handled").inc()

    def _sealed(self, arrival: InferenceLogged | FeedbackReceived, revision: InteractionScored) -> InteractionScored:
        name = "inference" if isinstance(arrival, InferenceLogged) else "feedback"
        return revision.model_copy(update={name: resealed(arrival, getattr(revision, name), self._texts)})

    def _admit(self, record: Record, trace: str | None) -> None:
        """Accepted feedback comes back marked, and is joined then."""
        try:
            admitted = admit(record, self._tokens)
        except DecodeError:
            DIRECT.labels("refused").inc()
            raise
        self.messages += [mark(self._tokens, encode(event, trace)) for event in all_sealed(admitted, self._texts)]
        DIRECT.labels("accepted").inc()
        metrics.RECORDS.labels(SERVICE, record.topic, "admitted").inc()

    def _refuse(self, record: Record, reason: str) -> None:
        log.warning("dead letter", topic=record.topic, offset=record.offset, reason=reason)
        metrics.DEAD_LETTERS.labels(SERVICE, record.topic).inc()
        self.messages.append(encode(dead_letter(record, SERVICE, self._fold.source, reason)))


def record_of(message: Any) -> Record:
    """A Faust message as a record of the bus."""
    headers = message.headers.items() if isinstance(message.headers, dict) else message.headers or ()
    return Record(
        message.topic,
        message.partition,
        message.offset,
        datetime.fromtimestamp(message.timestamp, UTC),
        message.key,
        message.value,
        tuple((str(name), content) for name, content in headers),
    )
