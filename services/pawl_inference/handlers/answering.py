"""One request: who answers, and its choices as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from types import MappingProxyType
from uuid import UUID

from pawl_inference import errors, metrics
from pawl_inference.bodies.generation_body import GenerationBody
from pawl_inference.domain.assignment import Assignment, resolve_caller
from pawl_inference.domain.calls import CallReader
from pawl_inference.engine.port import Usage
from pawl_inference.handlers import log_entry
from pawl_inference.handlers.choice import Choice, Ending, Piece
from pawl_inference.handlers.log_entry import Origin
from pawl_inference.handlers.prompts import Prompt
from pawl_inference.handlers.submission import Asked, Submitted, prepare, submit
from pawl_inference.handlers.terms import Terms, terms_of
from pawl_inference.record.answer_log import AnswerLog
from pawl_inference.versions.hosts import Host
from pawl_inference.versions.residency import NotLoadedError, Residency
from pawl_inference.versions.routing import RouteTable
from pawl_shared.access.tokens import Grant, KeyRing, sign
from pawl_shared.clock import Clock
from pawl_shared.ids import uuid7

# What is logged fits into a signed 64-bit number.
_SEED_BITS = 63
# A deployment may take the slot that was filled for a request before that begins: so often it is filled again.
_LOADS = 3
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
Item = tuple[Choice, Piece]


@dataclass(frozen=True)
class AnswerPolicy:
    """What holds for every request."""

    source: str
    subject_key: bytes
    tokens: KeyRing
    token_lifetime: timedelta
    longest_seconds: float


@dataclass
class Answer:
    """What a request gets: one choice or several. Iterate `chunks` once, and `close` it in any case."""

    id: UUID
    created: datetime
    request: GenerationBody
    submitted: Submitted
    choices: tuple[Choice, ...]

    @property
    def assignment(self) -> Assignment:
        """Which version answers, and why."""
        return self.submitted.assignment

    @property
    def version(self) -> str:
        """Digest of the version that answers."""
        return self.assignment.served.version

    @property
    def usage(self) -> Usage:
        """Each prompt counts once, however many choices it has: as its first one found it."""
        prompts = self.submitted.prompts
        first_choices = self.choices[:: len(self.choices) // len(prompts)]
        return Usage(
            sum(len(prompt.tokens) for prompt in prompts),
            sum(choice.usage.completion_tokens for choice in self.choices),
            sum(choice.usage.cached_tokens for choice in first_choices),
        )

    async def chunks(self) -> AsyncGenerator[Item, None]:
        """The chunks of all choices, as they come. Raises ApiError as `Choice.chunks`, and when the time was up before
        any of them had begun; the others are then cancelled."""
        try:
            async with aclosing(self._items()) as items:
                async for item in items:
                    yield item
            late = [choice for choice in self.choices if choice.expired]
            if len(late) == len(self.choices):
                raise errors.expired(late[0].wait_seconds())
            for choice in late:
                yield choice, choice.cut()
        finally:
            self.close()

    async def _items(self) -> AsyncGenerator[Item, None]:
        if len(self.choices) > 1:
            async with aclosing(_merged(self.choices)) as items:
                async for item in items:
                    yield item
        else:
            async with aclosing(self.choices[0].chunks()) as chunks:
                async for chunk in chunks:
                    yield self.choices[0], chunk

    def close(self) -> None:
        """Cancel, and log as cancelled, what has not ended."""
        for choice in self.choices:
            choice.close()


class AnswerHandler:
    """Begins answers, and records them when they end."""

    def __init__(
        self,
        policy: AnswerPolicy,
        routes: RouteTable,
        answers: AnswerLog,
        *,
        residency: Residency,
        clock: Clock,
        rng: Random,
    ) -> None:
        self._residency = residency
        self._policy = policy
        self._routes = routes
        self._answers = answers
        self._clock = clock
        self._rng = rng

    async def answer(
        self, request: GenerationBody, prompts: Sequence[Prompt], headers: Mapping[str, str] = _NO_HEADERS
    ) -> Answer:
        """As `begin`, when what the answer must be is compiled, and a version that made room for others is loaded.
        Raises ApiError."""
        came = self._clock.monotonic()
        await prepare(self._routes, request)
        try:
            return await self.begin(request, prompts, headers, came)
        except NotLoadedError as error:
            missing = error.with_traceback(None)  # that of this call would hold it, and so the request, in a circle
        for _ in range(_LOADS):
            async with self._residency.loaded(missing, self._terms(headers, came).timeout_seconds):
                try:
                    return await self.begin(request, prompts, headers, came)
                except NotLoadedError as error:
                    missing = error.with_traceback(None)
        raise errors.unavailable(
            "Deployments took the slot of the version that was asked for (PAWL_ENGINE_SLOTS). Try again.",
            "version_loading",
            1,
        )

    async def begin(
        self,
        request: GenerationBody,
        prompts: Sequence[Prompt],
        headers: Mapping[str, str] = _NO_HEADERS,
        came: float | None = None,
    ) -> Answer:
        """Assign a version and queue the request.

        Args:
            came: when the request did, where that was not now; in monotonic seconds.

        Raises:
            ApiError: it cannot be answered.
            NotLoadedError: it can, once its version is loaded.
        """
        now, started = self._clock.now(), self._clock.monotonic() if came is None else came
        terms = self._terms(headers, started)
        if self._answers.full:
            raise errors.unavailable(
                "The journal is full, because the broker is away: no answer could be logged.", "journal_full"
            )
        inference_id = uuid7(now, self._rng)
        caller = resolve_caller(
            key=self._policy.subject_key,
            inference_id=inference_id,
            now=now,
            session_id=request.session_id,
            conversation=request.conversation_id,
            user=request.person,
        )
        asked = Asked(request, prompts, self._rng.getrandbits(_SEED_BITS), terms)
        submitted = await submit(self._routes, asked, caller)
        origin = Origin(self._policy.source, now, request, caller, submitted.host, submitted.assignment)

        def wait_seconds() -> float:
            return submitted.host.engine.stats().wait_seconds

        def record(choice: Choice, ending: Ending) -> None:
            self._record(origin, choice, ending)

        choices = tuple(
            Choice(
                inference_id,
                index,
                queued,
                self._token(origin, inference_id, index),
                self._clock,
                started,
                record,
                wait_seconds,
                _reader(request, submitted.host),
            )
            for index, queued in enumerate(submitted.queued)
        )
        return Answer(inference_id, now, request, submitted, choices)

    def _terms(self, headers: Mapping[str, str], came: float) -> Terms:
        return terms_of(headers, self._policy.longest_seconds).after(self._clock.monotonic() - came)

    def _token(self, origin: Origin, inference_id: UUID, choice: int) -> str:
        caller, expires = origin.caller, origin.created + self._policy.token_lifetime
        grant = Grant(inference_id, choice, origin.assignment.model, caller.session, caller.subject, expires)
        return sign(self._policy.tokens, grant)

    def _record(self, origin: Origin, choice: Choice, ending: Ending) -> None:
        """Append InferenceLogged to the journal. Raises JournalFullError."""
        total = self._clock.monotonic() - choice.started
        first = total if choice.first_token_seconds is None else choice.first_token_seconds
        self._answers.append(log_entry.logged(origin, choice, ending, first, total))
        model = origin.assignment.model
        metrics.ANSWERS.labels(model, origin.assignment.arm, ending).inc()
        metrics.TOKENS.labels(model).inc(choice.usage.completion_tokens)
        if choice.usage.cached_tokens:
            metrics.PREFIX_HITS.labels(model).inc()
            metrics.PREFIX_TOKENS.labels(model).inc(choice.usage.cached_tokens)
        metrics.FIRST_TOKEN_SECONDS.observe(first)
        metrics.ANSWER_SECONDS.observe(total)


def _reader(request: GenerationBody, host: Host) -> CallReader | None:
    form, names = host.engine.info.calls, [tool["function"]["name"] for tool in request.offered]
    return CallReader(form, names) if form and names else None


async def _merged(choices: Sequence[Choice]) -> AsyncGenerator[Item, None]:
    """Chunks of several choices in the order in which they come."""
    came: asyncio.Queue[Item | Exception | None] = asyncio.Queue()
    pumps = [asyncio.create_task(_pump(choice, came)) for choice in choices]
    left = len(pumps)
    try:
        while left:
            item = await came.get()
            if isinstance(item, Exception):
                raise item
            if item is None:
                left -= 1
            else:
                yield item
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


async def _pump(choice: Choice, came: asyncio.Queue[Item | Exception | None]) -> None:
    try:
        async with aclosing(choice.chunks()) as chunks:
            async for chunk in chunks:
                came.put_nowait((choice, chunk))
        came.put_nowait(None)
    except Exception as error:
        came.put_nowait(error)
