"""What is logged of one choice."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from pawl_inference.bodies.generation_body import GenerationBody
from pawl_inference.domain.assignment import Assignment, Caller
from pawl_inference.handlers.choice import Choice, Ending
from pawl_inference.versions.hosts import Host
from pawl_shared.events import InferenceLogged
from pawl_shared.ids import derived_id


@dataclass(frozen=True)
class Origin:
    """What all choices of a request have in common."""

    source: str
    created: datetime
    request: GenerationBody
    caller: Caller
    host: Host
    assignment: Assignment


def logged(origin: Origin, choice: Choice, ending: Ending, first_token: float, total: float) -> InferenceLogged:
    """The entry; `first_token` and `total` in seconds since the request came."""
    assignment, prompt = origin.assignment, choice.queued.prompt
    return InferenceLogged(
        # Derived, so that the journal may send it twice.
        id=derived_id(choice.inference_id, f"pawl.inference.logged:{choice.index}"),
        time=origin.created,
        source=origin.source,
        inference_id=choice.inference_id,
        choice=choice.index,
        model=assignment.model,
        session=origin.caller.session,
        subject=origin.caller.subject,
        messages=prompt.turns,
        form=prompt.form,
        answer="".join(choice.text),
        tools=_compact(origin.request.offered) if origin.request.offered else "",
        bound=origin.request.bound,
        called=tuple(call.name for call in choice.calls),
        finish_reason=ending,
        failed=choice.failed,
        arm=assignment.arm,
        version=assignment.served.version,
        canary=assignment.canary,
        revision=assignment.revision,
        template_version=origin.host.template_version,
        experiment=assignment.experiment,
        experiment_arm=assignment.experiment_arm.name if assignment.experiment_arm else "",
        prompt_version=prompt.prompt_version,
        sampling=choice.queued.sampling,
        prompt_tokens=choice.usage.prompt_tokens,
        answer_tokens=choice.usage.completion_tokens,
        first_token_seconds=first_token,
        total_seconds=total,
        metadata={name: value for name, value in (origin.request.metadata or {}).items() if name != "session_id"},
    )


def _compact(value: object) -> str:
    """No longer than in the request's body, which is bounded so that a record holds it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
