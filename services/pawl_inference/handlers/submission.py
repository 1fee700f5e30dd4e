"""From a request to answers in the engine's queue: which version answers, and how each choice is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pawl_inference import errors
from pawl_inference.bodies.generation_body import GenerationBody
from pawl_inference.domain import arm as experiment_arm
from pawl_inference.domain.assignment import Assignment, Caller, ModelLoadingError, UnknownModelError
from pawl_inference.domain.choices import seed_of
from pawl_inference.engine.constraint import Constraint
from pawl_inference.engine.port import (
    BiasedTokenError,
    ChatTemplateError,
    ConstraintError,
    Engine,
    Generation,
    GenerationRequest,
    PromptTooLongError,
    QueueFullError,
    Sampling,
    ToolsUnsupportedError,
    UnknownTokenError,
    UnknownVersionError,
)
from pawl_inference.handlers import constraints
from pawl_inference.handlers.prompts import EmptyPromptError, Encoded, Prompt, all_encoded
from pawl_inference.handlers.terms import Terms
from pawl_inference.versions.hosts import Host
from pawl_inference.versions.residency import NotLoadedError
from pawl_inference.versions.routing import RouteTable
from pawl_shared import events


@dataclass(frozen=True)
class Queued:
    """One choice in the engine's queue, and what was made of its request."""

    generation: Generation
    prompt: Encoded
    sampling: events.Sampling
    constraint: Constraint | None = None


@dataclass(frozen=True)
class Submitted:
    """All choices of a request: those of the first prompt, then those of the next."""

    host: Host
    assignment: Assignment
    prompts: tuple[Encoded, ...]
    queued: tuple[Queued, ...]


@dataclass(frozen=True)
class Asked:
    """A request, the prompts in it, and the seed of its first choice where it names none."""

    body: GenerationBody
    prompts: Sequence[Prompt]
    seed: int
    terms: Terms


async def submit(routes: RouteTable, asked: Asked, caller: Caller) -> Submitted:
    """Queue a request, as a whole or not at all.

    Raises:
        ApiError: it cannot be answered.
        NotLoadedError: it can, once its version is loaded.
    """
    try:
        try:
            return await _once(routes, asked, caller)
        except (UnknownVersionError, NotLoadedError):
            # Retired between looking the route up and queueing: the table has the newer route by now.
            return await _once(routes, asked, caller)
    except UnknownModelError as error:
        raise errors.unknown_model(asked.body.model, str(error)) from error
    except ModelLoadingError as error:
        raise errors.loading_model(asked.body.model) from error
    except UnknownVersionError as error:  # it is deployed: its engine was closed at the end of this process
        raise errors.ending() from error
    except PromptTooLongError as error:
        raise errors.invalid(asked.body.PROMPT, f"{error}.", "context_length_exceeded") from error
    except (ChatTemplateError, UnknownTokenError, EmptyPromptError) as error:
        raise errors.invalid(asked.body.PROMPT, str(error)) from error
    except BiasedTokenError as error:
        raise errors.invalid("logit_bias", f"{error}.") from error
    except ToolsUnsupportedError as error:
        raise errors.invalid("tools" if asked.body.offered else "messages", f"{error}.") from error
    except ConstraintError as error:
        raise constraints.refused(asked.body.constraint, error) from error
    except QueueFullError as error:
        raise errors.too_many(str(error), error.retry_after_seconds) from error


async def prepare(routes: RouteTable, body: GenerationBody) -> None:
    """Compile what the answer must be, beside the event loop: a new schema takes milliseconds, and would hold up every
    stream. Raises ApiError when no grammar can express it."""
    constraint = body.constraint
    if constraint is None:
        return
    try:
        route, _ = routes.resolve(body.model, "")
    except (UnknownModelError, ModelLoadingError):
        return  # `submit` tells
    for host in route.hosts.values():
        if host.engine.info.calls or not constraint.functions:  # else its chat template tells why
            await constraints.compiled(host.engine, constraint)


async def _once(routes: RouteTable, asked: Asked, caller: Caller) -> Submitted:
    if not routes.all():
        raise errors.not_ready()
    route, assignment = routes.resolve(asked.body.model, caller.session)
    arm, host = assignment.experiment_arm, route.host(assignment.served)
    prompts = await all_encoded(asked.prompts, host.engine, arm)
    drawn = experiment_arm.sampling(arm, _wanted(asked), asked.body.temperature, asked.body.top_p)
    if drawn.max_tokens is None:
        drawn = drawn.model_copy(update={"max_tokens": asked.body.DEFAULT_LIMIT})
    queued: list[Queued] = []
    try:
        for prompt in prompts:
            for number in range(asked.body.choices):
                own = drawn.model_copy(update={"seed": seed_of(drawn.seed or 0, number)})
                request = replace(
                    _request(host.engine, assignment.served.version, prompt, own),
                    top_logprobs=asked.body.likeliest,
                    constraint=asked.body.constraint,
                    timeout_seconds=asked.terms.timeout_seconds,
                    share=asked.terms.share(caller),
                )
                queued.append(Queued(host.engine.submit(request), prompt, own, request.constraint))
    except BaseException as error:
        for each in queued:
            each.generation.cancel()
        if isinstance(error, UnknownVersionError) and assignment.served.slot_file is not None:
            raise NotLoadedError(host, assignment.served) from error
        raise
    return Submitted(host, assignment, prompts, tuple(queued))


def _request(engine: Engine, version: str, prompt: Encoded, drawn: events.Sampling) -> GenerationRequest:
    return GenerationRequest(
        version=version,
        prompt=prompt.tokens,
        max_tokens=drawn.max_tokens or max(1, engine.info.context_length - len(prompt.tokens)),
        sampling=Sampling(
            temperature=drawn.temperature,
            top_p=drawn.top_p,
            top_k=drawn.top_k,
            min_p=drawn.min_p,
            presence_penalty=drawn.presence_penalty,
            frequency_penalty=drawn.frequency_penalty,
            repetition_penalty=drawn.repetition_penalty,
            logit_bias=tuple(drawn.logit_bias.items()),
            # Apps may send negative seeds, engines take none.
            seed=None if drawn.seed is None else drawn.seed % 2**64,
        ),
        stop=drawn.stop,
    )


def _wanted(asked: Asked) -> events.Sampling:
    """What the request asks for, with OpenAI's defaults. A seed is drawn where it names none: what was drawn is logged,
    so that every answer can be made again."""
    body = asked.body
    return events.Sampling(
        temperature=1.0 if body.temperature is None else body.temperature,
        top_p=1.0 if body.top_p is None else body.top_p,
        top_k=max(0, body.top_k or 0),
        min_p=body.min_p or 0.0,
        presence_penalty=body.presence_penalty or 0.0,
        frequency_penalty=body.frequency_penalty or 0.0,
        repetition_penalty=body.repetition_penalty or 1.0,
        logit_bias={int(token): bias for token, bias in (body.logit_bias or {}).items()},
        max_tokens=body.limit,
        seed=asked.seed if body.seed is None else body.seed,
        stop=body.stops,
    )
