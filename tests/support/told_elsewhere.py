"""An app whose answers come from another provider tells a running Pawl of them, in each of the ways that there are.

What people thought of an answer is sent first, so that a session of a second's gap cannot end between both."""

import time
import uuid
from typing import Any

import httpx

NAME, MODEL = "elsewhere", "default/elsewhere"
PROVIDER = {"provider": "openai", "provider_model": "gpt-5-mini"}


def rate(http: httpx.Client, place: str, session: str, **opinion: Any) -> str:
    """Rate an answer that Pawl may not know yet; answers its id."""
    given = http.post(f"/v1/inferences/{place}/token", json={"model": NAME, "session": session}).raise_for_status()
    known = given.json()
    said = {"inference_id": known["id"], "token": known["feedback_token"], **opinion}
    assert http.post("/v1/feedback", json=said).raise_for_status().status_code == 202
    return str(known["id"])


def by_post(http: httpx.Client, question: str, answer: str, **opinion: Any) -> str:
    """One POST; answers the id."""
    session, place = uuid.uuid4().hex, str(uuid.uuid4())
    identity = rate(http, place, session, **opinion)
    messages = [{"role": "user", "content": question}]
    told = {"model": NAME, "id": place, "session": session, "messages": messages, "answer": answer, **PROVIDER}
    http.post("/v1/inferences", json=told).raise_for_status()
    return identity


def by_span(http: httpx.Client, question: str, answer: str, **opinion: Any) -> str:
    """A span of OpenTelemetry's, as JSON; answers the id."""
    session, trace, span = uuid.uuid4().hex, uuid.uuid4().hex, uuid.uuid4().hex[:16]
    identity = rate(http, f"{trace}:{span}", session, **opinion)
    now = time.time_ns()
    attributes = {
        "pawl.model": NAME,
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": PROVIDER["provider"],
        "gen_ai.response.model": PROVIDER["provider_model"],
        "gen_ai.conversation.id": session,
        "gen_ai.prompt.0.role": "user",
        "gen_ai.prompt.0.content": question,
        "gen_ai.completion.0.role": "assistant",
        "gen_ai.completion.0.content": answer,
    }
    chat = {
        "traceId": trace,
        "spanId": span,
        "name": "chat",
        "startTimeUnixNano": str(now),
        "endTimeUnixNano": str(now + 10**9),
        "attributes": [{"key": key, "value": {"stringValue": value}} for key, value in attributes.items()],
    }
    found = http.post("/v1/traces", json={"resourceSpans": [{"scopeSpans": [{"spans": [chat]}]}]}).raise_for_status()
    assert found.json() == {}, "nothing of it was refused"
    return identity
