"""One chat request: who answers, the answer as it comes, and its log entry before it ends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Literal, NamedTuple
from uuid import UUID

from pawl_inference import errors, metrics
from pawl_inference.answer_log import AnswerLog
from pawl_inference.domain import arm as experiment_arm
from pawl_inference.domain.assignment import Assignment, Caller, UnknownModelError, resolve_caller
from pawl_inference.engine.port import (
    ChatTemplateError,
    Engine,
    Generation,
    GenerationChunk,
    GenerationRequest,
    PromptTooLongError,
    QueueFullError,
    Sampling,
    UnknownVersionError,
    Usage,
)
from pawl_inference.hosts import Host
from pawl_inference.journal import JournalFullError
from pawl_inference.routing import RouteTable
from pawl_inference.schemas import ChatRequest
from pawl_shared import events, logging
from pawl_shared.clock import Clock
from pawl_shared.ids import derived_id, uuid7
from pawl_shared.tokens import Grant, KeyRing, sign

log = logging.get(__name__)
Ending = Literal["stop", "length", "cancelled"]


class _Submitted(NamedTuple):
    """A request in the engine's queue, and what was made of it."""

    host: Host
    assignment: Assignment
    generation: Generation
    prompt_tokens: int
    prompt_version: str
    sampling: events.Sampling


@dataclass(frozen=True)
class ChatPolicy:
    """What holds for every request."""

    source: str
    subject_key: bytes
    tokens: KeyRing
    token_lifetime: timedelta


@dataclass
class Answer:
    """An answer in flight. Iterate `chunks` once; the last chunk comes when the answer is safely in the journal."""

    id: UUID
    created: datetime
    request: ChatRequest
    caller: Caller
    submitted: _Submitted
    feedback_token: str
    handler: ChatHandler
    usage: Usage
    started: float
    text: list[str] = field(default_factory=list)
    first_token_seconds: float | None = None
    failed: bool = False
    _logged: bool = False

    @property
    def assignment(self) -> Assignment:
        """Which version answers, and why."""
        return self.submitted.assignment

    @property
    def version(self) -> str:
        """Digest of the version that answers."""
        return self.assignment.served.version

    async def chunks(self) -> AsyncGenerator[GenerationChunk, None]:
        """The engine's chunks. Left early (the client went away), the answer is cancelled and logged as such.

        Raises ApiError when the engine failed, or when the answer cannot be logged: then it is not given either.
        """
        try:
            async for chunk in self.submitted.generation:
                self._note(chunk)
                if chunk.finish_reason == "error":
                    self.failed = True
                    log.error("answer failed", inference_id=str(self.id), error=chunk.error)
                    raise errors.internal()
                if chunk.finish_reason is not None:
                    self._finish(chunk.finish_reason)
                yield chunk
        finally:
            if not self._logged:
                self.submitted.generation.cancel()
                self._cancelled()

    def _note(self, chunk: GenerationChunk) -> None:
        self.text.append(chunk.text)
        self.usage = chunk.usage or Usage(self.usage.prompt_tokens, self.usage.completion_tokens + len(chunk.token_ids))
        if self.first_token_seconds is None and chunk.token_ids:
            self.first_token_seconds = self.handler.clock.monotonic() - self.started

    def _finish(self, ending: Ending) -> None:
        self._logged = True
        try:
            self.handler.record(self, ending)
        except JournalFullError as error:
            raise errors.unavailable(str(error), "journal_full") from error

    def _cancelled(self) -> None:
        """Nobody reads the answer any more; what it came to is logged where there is room."""
        try:
            self._finish("cancelled")
        except errors.ApiError as error:
            log.warning("cancelled answer not logged", inference_id=str(self.id), error=error.message)


class ChatHandler:
    """Begins answers, and records them when they end."""

    def __init__(
        self,
        policy: ChatPolicy,
        routes: RouteTable,
        answers: AnswerLog,
        *,
        clock: Clock,
        rng: Random,
    ) -> None:
        self._policy = policy
        self._routes = routes
        self._answers = answers
        self.clock = clock
        self._rng = rng

    def begin(self, request: ChatRequest) -> Answer:
        """Assign a version and queue the request. Raises ApiError when it cannot be answered."""
        if self._answers.full:
            raise errors.unavailable(
                "The journal is full, because the broker is away: no answer could be logged.", "journal_full"
            )
        now, started = self.clock.now(), self.clock.monotonic()
        inference_id = uuid7(now, self._rng)
        caller = resolve_caller(
            key=self._policy.subject_key,
            inference_id=inference_id,
            now=now,
            session_id=request.session_id,
            conversation=request.conversation_id,
            user=request.user,
        )
        submitted = self._submit(request, caller)
        grant = Grant(
            inference_id,
            0,
            submitted.assignment.model,
            caller.session,
            caller.subject,
            now + self._policy.token_lifetime,
        )
        token = sign(self._policy.tokens, grant)
        return Answer(
            inference_id,
            now,
            request,
            caller,
            submitted,
            token,
            self,
            Usage(submitted.prompt_tokens, 0),
            started,
        )

    def record(self, answer: Answer, ending: Ending) -> None:
        """Append InferenceLogged to the journal. Raises JournalFullError."""
        total = self.clock.monotonic() - answer.started
        first = total if answer.first_token_seconds is None else answer.first_token_seconds
        self._answers.append(_logged(answer, ending, first, total, self._policy.source))
        metrics.ANSWERS.labels(answer.assignment.model, answer.assignment.arm, ending).inc()
        metrics.TOKENS.labels(answer.assignment.model).inc(answer.usage.completion_tokens)
        metrics.FIRST_TOKEN_SECONDS.observe(first)
        metrics.ANSWER_SECONDS.observe(total)

    def _submit(self, request: ChatRequest, caller: Caller) -> _Submitted:
        try:
            try:
                return self._once(request, caller)
            except UnknownVersionError:
                # Retired between looking the route up and queueing: the table has the newer route by now.
                return self._once(request, caller)
        except (UnknownModelError, UnknownVersionError) as error:
            raise errors.unknown_model(request.model, str(error)) from error
        except PromptTooLongError as error:
            raise errors.invalid("messages", f"{error}.", "context_length_exceeded") from error
        except ChatTemplateError as error:
            raise errors.invalid("messages", str(error)) from error
        except QueueFullError as error:
            raise errors.too_many(str(error), error.retry_after_seconds) from error

    def _once(self, request: ChatRequest, caller: Caller) -> _Submitted:
        if not self._routes.all():
            raise errors.unavailable("No model is deployed yet; GET /readyz tells why.", "not_ready")
        route, assignment = self._routes.resolve(request.model, caller.session)
        arm, host = assignment.experiment_arm, route.host(assignment.served)
        engine = host.engine
        turns, prompted = _turns(request), experiment_arm.prompt_version(arm)
        prompt = _encoded(engine, experiment_arm.conversation(arm, turns))
        if prompted and len(prompt) >= engine.info.context_length:
            # The session stays in its arm: leaving it out would leave long conversations out of one arm alone.
            prompt, prompted = _encoded(engine, turns), ""
        sampling = experiment_arm.sampling(arm, _asked(request), request.temperature, request.top_p)
        generation = engine.submit(
            GenerationRequest(
                version=assignment.served.version,
                prompt=prompt,
                max_tokens=sampling.max_tokens or max(1, engine.info.context_length - len(prompt)),
                sampling=Sampling(sampling.temperature, sampling.top_p, seed=sampling.seed),
                stop=sampling.stop,
            )
        )
        return _Submitted(host, assignment, generation, len(prompt), prompted, sampling)


def _logged(answer: Answer, ending: Ending, first: float, total: float, source: str) -> events.InferenceLogged:
    request, assignment, submitted = answer.request, answer.assignment, answer.submitted
    return events.InferenceLogged(
        # Derived, so that the journal may send it twice.
        id=derived_id(answer.id, "pawl.inference.logged:0"),
        time=answer.created,
        source=source,
        inference_id=answer.id,
        model=assignment.model,
        session=answer.caller.session,
        subject=answer.caller.subject,
        messages=_turns(request),
        answer="".join(answer.text),
        finish_reason=ending,
        failed=answer.failed,
        arm=assignment.arm,
        version=assignment.served.version,
        canary=assignment.canary,
        revision=assignment.revision,
        template_version=submitted.host.template_version,
        experiment=assignment.experiment,
        experiment_arm=assignment.experiment_arm.name if assignment.experiment_arm else "",
        prompt_version=submitted.prompt_version,
        sampling=submitted.sampling,
        prompt_tokens=answer.usage.prompt_tokens,
        answer_tokens=answer.usage.completion_tokens,
        first_token_seconds=first,
        total_seconds=total,
        metadata={name: value for name, value in (request.metadata or {}).items() if name != "session_id"},
    )


def _turns(request: ChatRequest) -> tuple[events.Message, ...]:
    """`developer` is what OpenAI calls `system` now; chat templates know the older name."""
    return tuple(
        events.Message(role="system" if turn.role == "developer" else turn.role, content=turn.text)
        for turn in request.messages
    )


def _asked(request: ChatRequest) -> events.Sampling:
    """What the request asks for, with OpenAI's defaults."""
    return events.Sampling(
        temperature=_or_one(request.temperature),
        top_p=_or_one(request.top_p),
        max_tokens=request.limit,
        seed=request.seed,
        stop=request.stops,
    )


def _encoded(engine: Engine, turns: Sequence[events.Message]) -> tuple[int, ...]:
    return engine.encode_chat([{"role": turn.role, "content": turn.content} for turn in turns])


def _or_one(value: float | None) -> float:
    """OpenAI's default for temperature and top_p."""
    return 1.0 if value is None else value
