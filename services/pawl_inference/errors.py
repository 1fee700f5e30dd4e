"""Errors as OpenAI's API words them: {"error": {"message", "type", "param", "code"}} with a status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

REQUEST = "invalid_request_error"
# Of what pydantic finds wrong. A union's members are far fewer, and the paths of 45,000 keys took 0.1 s.
_LOOKED_AT = 100


@dataclass
class ApiError(Exception):
    """What a client is told. `param` names the field of the request that is wrong."""

    status: int
    message: str
    code: str | None = None
    param: str | None = None
    type: str = REQUEST
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> dict[str, dict[str, str | None]]:
        """The JSON body. It may quote the request, and JSON can write half a surrogate pair, which UTF-8 cannot."""
        param = None if self.param is None else _whole(self.param)
        return {"error": {"message": _whole(self.message), "type": self.type, "param": param, "code": self.code}}


def invalid(param: str | None, message: str, code: str | None = "invalid_value") -> ApiError:
    """400: a field has a value that cannot be honoured."""
    return ApiError(400, message, code, param)


def unknown_model(model: str, detail: str = "") -> ApiError:
    """404: no such route or version."""
    text = f"The model `{model}` does not exist or is not loaded here; GET /v1/models lists what is. {detail}"
    return ApiError(404, text.strip(), "model_not_found", "model")


def not_ready() -> ApiError:
    """503: no deployment has arrived yet."""
    return unavailable("No model is deployed yet; GET /readyz tells why.", "not_ready")


def loading_model(model: str) -> ApiError:
    """503: its first deployment has arrived, and is not in memory yet."""
    return unavailable(f"The model `{model}` is being loaded; ask again.", "model_loading")


def forbidden(message: str) -> ApiError:
    """403: a feedback token that gives no right to rate this answer."""
    return ApiError(403, message, "invalid_feedback_token", "token", "permission_error")


def too_many(message: str, retry_after_seconds: float) -> ApiError:
    """429: the queue is full."""
    headers = {"Retry-After": str(max(1, round(retry_after_seconds)))}
    return ApiError(429, message, "rate_limit_exceeded", type="rate_limit_error", headers=headers)


def unavailable(message: str, code: str, retry_after_seconds: float = 5) -> ApiError:
    """503: the service cannot answer now; the request may be sent again."""
    headers = {"Retry-After": str(max(1, round(retry_after_seconds)))}
    return ApiError(503, message, code, type="server_error", headers=headers)


def expired(retry_after_seconds: float) -> ApiError:
    """503: the request's time was up before its answer began."""
    text = (
        "The request waited for as long as it may (x-request-timeout, PAWL_REQUEST_TIMEOUT_SECONDS) and its answer had "
        "not begun; try again later, or with more time."
    )
    return unavailable(text, "request_expired", retry_after_seconds)


def ending() -> ApiError:
    """503: this process is about to end."""
    return unavailable("This replica is shutting down; ask again.", "shutting_down", 2)


def internal() -> ApiError:
    """500: the server's own fault; what happened stands in its log."""
    text = "The server had an error while processing your request. Its log has the details."
    return ApiError(500, text, "internal_error", type="server_error")


def from_validation(errors: Sequence[Mapping[str, Any]], body: object) -> ApiError:
    """400 for the first thing that pydantic found wrong with a body, which is what its JSON holds."""
    errors = errors[:_LOOKED_AT]
    first = errors[0]
    if first.get("type") == "json_invalid":
        reason = first.get("ctx", {}).get("error", "it is not JSON")
        return ApiError(400, f"We could not parse the JSON body of your request: {reason}.", "invalid_json")
    if first.get("type") == "refused_parameter":
        refusal = first["ctx"]
        return ApiError(400, refusal["text"], refusal["code"], refusal["param"])
    # The members of a union complain in turn about one field; those that came furthest know best.
    paths = [_path(each, body) for each in errors]
    path = max((each for each in paths if each[: len(paths[0])] == paths[0]), key=len)
    first, *others = [each for each, found in zip(errors, paths, strict=True) if found == path]
    param = _dotted(path) or None
    if first.get("type") == "missing" and param is None:
        return ApiError(400, "We could not parse the JSON body of your request: it is empty.", "invalid_json")
    if first.get("type") == "missing":
        return ApiError(400, f"Missing required parameter: '{param}'.", "missing_required_parameter", param)
    if first.get("type") == "extra_forbidden":
        return ApiError(400, f"Unknown parameter: '{param}'.", "unknown_parameter", param)
    message = str(first.get("msg", "it is not valid")).removeprefix("Value error, ")
    for other in dict.fromkeys(str(each.get("msg")) for each in others):
        message += f", or {other.removeprefix('Value error, ').removeprefix('Input should be ')}"
    return invalid(param, f"Invalid value for '{param}': {message}." if param else f"Invalid body: {message}.")


def _whole(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _path(error: Mapping[str, Any], body: object) -> list[Any]:
    """Where a field stands in the body. What does not is what pydantic calls a member of a union (or a validator); only
    the last part may be a field that is missing."""
    *within, last = error.get("loc") or (None,)
    at, path = body, list[Any]()
    for part in within:
        if _has(at, part):
            at = at[part]  # type: ignore[index]  # it has it
            path.append(part)
    if _has(at, last) or (error.get("type") == "missing" and last is not None):
        path.append(last)
    return path


def _has(container: object, part: object) -> bool:
    if isinstance(container, list):
        return isinstance(part, int) and part < len(container)
    return isinstance(container, dict) and part in container


def _dotted(path: list[Any]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text
