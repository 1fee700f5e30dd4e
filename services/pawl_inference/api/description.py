"""What docs/openapi.json says beyond what FastAPI sees by itself: keys, headers, streams, and what is not JSON."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from pawl_inference.api.edge import FEEDBACK, OPEN, TRACES, scope_of
from pawl_inference.bodies.feedback_body import FEEDBACK_SCHEMAS
from pawl_inference.handlers.terms import TIMEOUT_HEADER

_CHAT, _TEXT = "/v1/chat/completions", "/v1/completions"
_KEY = "api_key"
_TEXT_SCHEMA = {"type": "string"}
_SECONDS = {"type": "number", "exclusiveMinimum": 0}


def _header(description: str, schema: dict[str, Any] = _TEXT_SCHEMA) -> dict[str, Any]:
    return {"description": description, "schema": schema}


_OF_ANSWERS = {
    "x-request-id": _header("the answer's id, as in its body"),
    "x-pawl-version": _header("digest of the version that answered"),
    "x-pawl-arm": _header("champion, challenger, experiment or pinned"),
    "x-pawl-feedback-token": _header("the right to rate the first choice, as in the body's `metadata`"),
    "cache-control": _header("no-cache, of a stream"),
}
_CHALLENGE = {"www-authenticate": _header("Bearer, with the reason")}
_LATER = {"retry-after": _header("seconds after which to ask again", {"type": "integer", "minimum": 1})}
_OF_ERRORS = {"401": _CHALLENGE, "403": _CHALLENGE, "429": _LATER, "503": _LATER}
_TIMEOUT = {
    "name": TIMEOUT_HEADER,
    "in": "header",
    "required": False,
    "description": "seconds that the answer may take; at most PAWL_REQUEST_TIMEOUT_SECONDS, which more than that gives",
    "schema": _SECONDS,
}
_ENCODING = {
    "name": "content-encoding",
    "in": "header",
    "required": False,
    "description": "how the body is packed",
    "schema": {"type": "string", "enum": ["identity", "gzip"]},
}
_SHARED = {
    "access-control-allow-origin": _header("the page's origin, where it is one of PAWL_FEEDBACK_ORIGINS, or *"),
    "vary": _header("Origin, where a page's origin was answered"),
}


# Of any application of this process: the routes are always the same, and to describe them takes 0.1 s.
_DESCRIPTION: dict[str, Any] = {}


def complete(app: FastAPI) -> None:
    """Make the application describe itself so."""
    if not _DESCRIPTION:
        _DESCRIPTION.update(_described(app))
    app.openapi = lambda: _DESCRIPTION  # type: ignore[method-assign]


def _described(app: FastAPI) -> dict[str, Any]:
    described = app.openapi()
    paths, components = described["paths"], described["components"]
    # FastAPI assumes that what it validates is answered with 422.
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    components["schemas"] |= FEEDBACK_SCHEMAS
    components["securitySchemes"] = {
        _KEY: {"type": "http", "scheme": "bearer", "description": "an API key; needed where PAWL_API_KEYS names any"}
    }
    for path, operations in paths.items():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            _add_key(path, operation)
    for path, kind in ((_CHAT, "chat.completion.chunk"), (_TEXT, "text_completion")):
        _add_stream(paths[path]["post"], kind)
    paths[TRACES]["post"].setdefault("parameters", []).append(_ENCODING)
    for response in paths[FEEDBACK]["post"]["responses"].values():
        response["headers"] = response.get("headers", {}) | _SHARED
    paths["/readyz"]["get"]["responses"]["503"] = {
        "description": "Not ready; the reasons, a line each",
        "content": {"text/plain": {"schema": _TEXT_SCHEMA}},
    }
    return described


def _add_key(path: str, operation: dict[str, Any]) -> None:
    if path not in OPEN:
        operation["security"] = [{_KEY: [scope_of(path)]}, {}]
    elif path == "/readyz":
        operation["security"] = [{}, {_KEY: ["ops"]}]
    for status, headers in _OF_ERRORS.items():
        if status in operation["responses"]:
            operation["responses"][status] = operation["responses"][status] | {"headers": headers}


def _add_stream(operation: dict[str, Any], kind: str) -> None:
    operation.setdefault("parameters", []).append(_TIMEOUT)
    answer = operation["responses"]["200"]
    answer["description"] = f"The answer; with `stream: true` as {kind} events that end with [DONE]"
    answer["content"]["text/event-stream"] = {"schema": _TEXT_SCHEMA}
    answer["headers"] = _OF_ANSWERS
