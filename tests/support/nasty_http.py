"""Nasty requests and what comes of each: the one list behind test_nasty_input.py and docs/nasty-input.md."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from fastapi.testclient import TestClient
from httpx import Response

from pawl_shared.access.tokens import Grant, KeyRing, sign
from pawl_shared.clock import SystemClock

CHAT, FEEDBACK = "/v1/chat/completions", "/v1/feedback"
KEY = bytes(range(32))
MODEL = "default/assistant"
JSON = {"content-type": "application/json"}


class Client:
    """Sends what a test asks for; `answer` makes an answer that may be rated."""

    def __init__(self, http: TestClient) -> None:
        self.http = http

    def post(self, path: str, content: bytes | Iterator[bytes], **headers: str) -> Response:
        return self.http.post(path, content=content, headers=JSON | headers)

    def chat(self, **fields: Any) -> Response:
        body = {"model": "assistant", "messages": [{"role": "user", "content": "Hello"}]} | fields
        return self.post(CHAT, json.dumps(body).encode())

    def rate(self, answer: dict[str, Any] | None = None, key: str | None = None, **fields: Any) -> Response:
        headers = {"idempotency-key": key} if key else {}
        return self.post(FEEDBACK, json.dumps((answer or self.answer()) | fields).encode(), **headers)

    def answer(self) -> dict[str, Any]:
        body = self.chat().json()
        return {"inference_id": body["id"], "token": body["metadata"]["feedback_token"]}


def granted(valid: timedelta = timedelta(days=1), key: bytes = KEY, session: str = "s") -> dict[str, Any]:
    """An answer that was never given here, and a token for it."""
    inference_id, now = uuid4(), SystemClock().now()
    token = sign(KeyRing.of(key), Grant(inference_id, 0, MODEL, session, None, now + valid))
    return {"inference_id": str(inference_id), "token": token}


@dataclass(frozen=True)
class Case:
    """`sends` gives one response or several; all must have the status and, when they are refused, the code."""

    input: str
    status: int
    code: str
    why: str
    sends: Callable[[Client], Response | list[Response]]
    stored: int = field(default=0)  # statements on pawl.feedback that were not there before, with distinct ids


def deep(levels: int) -> bytes:
    return b'{"model":"assistant","messages":' + b"[" * levels + b"]" * levels + b"}"


def large(client: Client, path: str) -> Response:
    return client.post(path, b'{"x":"' + b"x" * (10 << 20) + b'"}')


def chunked(client: Client) -> Response:
    return client.post(CHAT, iter([b"x" * (1 << 20)] * 10))


def batch(client: Client, count: int, **broken: Any) -> Response:
    answer = client.answer()
    items = [answer | {"metrics": {"m": n}} for n in range(count)]
    if broken:
        items[-1] |= broken
    return client.post(FEEDBACK, json.dumps({"events": items}).encode())


def at_once(client: Client) -> list[Response]:
    from concurrent.futures import ThreadPoolExecutor

    answer = client.answer()
    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(lambda _: client.rate(answer, key="once", thumb="up"), range(200)))
    assert len({response.text for response in found}) == 1, "every repeat names the same ids"
    return found


def comparison(client: Client, mine: dict[str, Any], other: dict[str, Any]) -> Response:
    return client.rate(mine, comparison={"over": other["inference_id"], "token": other["token"]})


def itself(client: Client) -> Response:
    answer = client.answer()
    return comparison(client, answer, answer)


def twice(client: Client, first: dict[str, Any], second: dict[str, Any], key: str | None = None) -> list[Response]:
    answer = client.answer()
    return [client.rate(answer, key=key, **fields) for fields in (first, second)]


SYNTAX, VALUE, TOKEN = "invalid_json", "invalid_value", "invalid_feedback_token"
MISSING, UNKNOWN = "missing_required_parameter", "unknown_parameter"
EVERY = (CHAT, FEEDBACK, "/v1/inferences")
UP = {"thumb": "up"}

CASES: tuple[Case, ...] = (
    # ------------------------------------------------------------ bodies
    Case("an empty body", 400, SYNTAX, "nothing was asked", lambda c: [c.post(path, b"") for path in EVERY]),
    Case(
        "a body cut in the middle",
        400,
        SYNTAX,
        "half a request has no meaning",
        lambda c: [c.post(p, b'{"a') for p in EVERY],
    ),
    Case(
        "bytes that are not UTF-8",
        400,
        SYNTAX,
        "JSON is UTF-8",
        lambda c: [c.post(p, b'{"a":"\xff\xfe"}') for p in EVERY],
    ),
    Case(
        "10,000 levels of nesting",
        400,
        SYNTAX,
        "a parser's stack is finite",
        lambda c: [c.post(p, deep(10_000)) for p in EVERY],
    ),
    Case(
        "10 MB with a length",
        413,
        "request_too_large",
        "a log record must hold it",
        lambda c: [large(c, p) for p in EVERY],
    ),
    Case(
        "10 MB in pieces, without a length",
        413,
        "request_too_large",
        "counted as it comes, not as it is declared",
        chunked,
    ),
    Case(
        "a list, a string, null instead of an object",
        400,
        "*",
        "fields have names",
        lambda c: [c.post(p, b) for p in EVERY for b in (b"[1]", b'"x"', b"null")],
    ),
    Case(
        "another content type",
        415,
        "unsupported_content_type",
        "browsers send forms across sites without asking",
        lambda c: [
            c.http.post(p, content=b"{}", headers={"content-type": t}) for p in EVERY for t in ("text/plain", "")
        ],
    ),
    Case(
        "a key twice in one object",
        200,
        "",
        "the last one counts, as in every JSON parser in use",
        lambda c: c.post(CHAT, b'{"model":"nobody","model":"assistant","messages":[{"role":"user","content":"x"}]}'),
    ),
    Case("an unknown field", 400, UNKNOWN, "nothing is ignored silently", lambda c: c.chat(temprature=1)),
    Case(
        "a picture in a message",
        400,
        "unsupported_parameter",
        "models here read text; an answer without the picture would look like one with it",
        lambda c: c.chat(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]),
    ),
    Case(
        "an unknown field of feedback", 400, UNKNOWN, "a misspelt `thumb` would be lost", lambda c: c.rate(thumbs="up")
    ),
    Case(
        "fields of the wrong type",
        400,
        VALUE,
        "a guess would be worse",
        lambda c: [c.chat(messages="hello"), c.chat(temperature="hot"), c.chat(stream="yes"), c.rate(thumb=True)],
    ),
    # ------------------------------------------------------------ chat
    Case(
        "half a surrogate pair in a message",
        400,
        "*",
        "it is not Unicode: no text can hold it",
        lambda c: c.chat(messages=[{"role": "user", "content": "\ud800"}]),
    ),
    Case(
        "NUL in a message",
        200,
        "",
        "a character like any other",
        lambda c: c.chat(messages=[{"role": "user", "content": "a\0b"}]),
    ),
    Case(
        "NaN, Infinity, -Infinity or 1e999 as temperature",
        400,
        VALUE,
        "no sampling has such a temperature",
        lambda c: [
            c.post(CHAT, b'{"model":"assistant","messages":[{"role":"user","content":"x"}],"temperature":%s}' % n)
            for n in (b"NaN", b"Infinity", b"-Infinity", b"1e999")
        ],
    ),
    Case("a million answers at once (n)", 400, VALUE, "at most eight a request", lambda c: c.chat(n=1_000_000)),
    Case(
        "negative max_tokens, or zero",
        400,
        VALUE,
        "an answer has at least one token",
        lambda c: [c.chat(max_tokens=n) for n in (-5, 0)],
    ),
    Case("max_tokens with 400 digits", 400, VALUE, "no computer counts so far", lambda c: c.chat(max_tokens=10**400)),
    Case("max_tokens beyond the context", 200, "", "the context ends the answer", lambda c: c.chat(max_tokens=10**9)),
    Case("a stop sequence of NUL", 200, "", "it never comes up, and harms nothing", lambda c: c.chat(stop="\0")),
    Case(
        "an empty stop sequence, or too many",
        400,
        VALUE,
        "an empty one would stop everything",
        lambda c: [c.chat(stop=""), c.chat(stop=["a"] * 5)],
    ),
    Case(
        "an unknown model or version",
        404,
        "model_not_found",
        "GET /v1/models lists what there is",
        lambda c: [c.chat(model=m) for m in ("nobody", "assistant@ffffff", "\0", "../../etc/passwd")],
    ),
    Case(
        "a prompt longer than the context",
        400,
        "context_length_exceeded",
        "cutting it would change the question",
        lambda c: c.chat(messages=[{"role": "user", "content": "word " * 1000}]),
    ),
    Case(
        "10,000 empty messages",
        400,
        VALUE,
        "their log entry would be larger than a record of Kafka",
        lambda c: c.chat(messages=[{"role": "user", "content": ""}] * 10_000),
    ),
    Case("a user id of 10,000 characters", 400, VALUE, "ids are short", lambda c: c.chat(user="u" * 10_000)),
    Case(
        "17 tags, or a tag of 1,000 characters",
        400,
        VALUE,
        "OpenAI's limits of metadata",
        lambda c: [c.chat(metadata={str(n): "x" for n in range(17)}), c.chat(metadata={"a": "x" * 1000})],
    ),
    Case(
        "a wrong method, an unknown URL",
        404,
        "unknown_url",
        "a misspelt path must not look like success",
        lambda c: [c.http.get("/v1/feedbacks"), c.post("/v1/embeddings", b"{}")],
    ),
    # ------------------------------------------------------------ feedback
    Case(
        "the token of another answer",
        403,
        TOKEN,
        "who may rate one answer may not rate all",
        lambda c: c.rate(c.answer() | {"token": c.answer()["token"]}, thumb="up"),
    ),
    Case(
        "an unknown id without a token",
        400,
        MISSING,
        "the token is the right to rate",
        lambda c: c.post(FEEDBACK, json.dumps({"inference_id": str(UUID(int=1)), **UP}).encode()),
    ),
    Case(
        "a forged, damaged or foreign token",
        403,
        TOKEN,
        "only the edge's key signs",
        lambda c: (
            [
                c.rate(c.answer() | {"token": t}, thumb="up")
                for t in ("", "x", "v1.a.b.c", "v1." * 9, "\0", "é" * 99, "v1" * 9999)
            ]
            + [c.rate(granted(key=bytes(32)), thumb="up")]
        ),
    ),
    Case(
        "an expired token",
        403,
        TOKEN,
        "an answer may be rated for PAWL_TOKEN_LIFETIME",
        lambda c: c.rate(granted(timedelta(seconds=-1)), thumb="up"),
    ),
    Case(
        "feedback on the token's last day",
        202,
        "",
        "late is not wrong: it is joined all the same",
        lambda c: c.rate(granted(timedelta(minutes=1)), thumb="up"),
        1,
    ),
    Case(
        "a valid token for an answer that nobody logged",
        202,
        "",
        "it may still come; until then the statement is an orphan and never trains",
        lambda c: c.rate(granted(), thumb="up"),
        1,
    ),
    Case(
        "a choice that the answer does not have",
        403,
        TOKEN,
        "the token names its choice",
        lambda c: [c.rate(choice=n, **UP) for n in (5, 10**30)],
    ),
    Case("a negative choice", 400, VALUE, "choices count from 0", lambda c: c.rate(choice=-1, **UP)),
    Case(
        "a rating out of range, or between two",
        400,
        VALUE,
        "1 to 5",
        lambda c: [c.rate(rating=n) for n in (0, 6, 4.5, -1, 10**30)],
    ),
    Case(
        "NaN, Infinity or 1e999 as a metric",
        400,
        VALUE,
        "a mean with one of them is none",
        lambda c: [
            c.post(FEEDBACK, json.dumps(c.answer())[:-1].encode() + b',"metrics":{"m":%s}}' % n)
            for n in (b"NaN", b"Infinity", b"1e999")
        ],
    ),
    Case(
        "1e308 as a metric",
        202,
        "",
        "finite, and kept as it is; metrics have no weight in a reward",
        lambda c: c.rate(metrics={"m": 1e308}),
        1,
    ),
    Case(
        "a negative dwell time",
        400,
        VALUE,
        "time does not run backwards",
        lambda c: c.rate(signals={"dwell_seconds": -1}),
    ),
    Case(
        "a statement that says nothing",
        400,
        VALUE,
        "an id alone is no opinion",
        lambda c: [c.rate(), c.rate(signals={}), c.rate(metrics={})],
    ),
    Case(
        "a correction of 70,000 characters, or an empty one",
        400,
        VALUE,
        "65,536 at most",
        lambda c: [c.rate(correction=t) for t in ("x" * 70_000, "")],
    ),
    Case("half a surrogate pair in a comment", 400, "*", "it is not Unicode", lambda c: c.rate(comment="\udfff")),
    Case("NUL in a comment", 202, "", "a character like any other", lambda c: c.rate(comment="a\0b"), 1),
    Case("a comparison of an answer with itself", 400, VALUE, "nothing follows from it", itself),
    Case(
        "a comparison with an answer whose token is wrong",
        403,
        TOKEN,
        "both sides need their token",
        lambda c: comparison(c, c.answer(), c.answer() | {"token": "v1.a.b.c"}),
    ),
    Case(
        "up, then down",
        202,
        "",
        "both are kept, and the later one counts",
        lambda c: twice(c, {"thumb": "up"}, {"thumb": "down"}),
        2,
    ),
    Case(
        "one post twice, with one Idempotency-Key",
        202,
        "",
        "the same id both times, so it counts once",
        lambda c: twice(c, UP, UP, "key"),
        1,
    ),
    Case(
        "one post 200 times at once, with one Idempotency-Key",
        202,
        "",
        "every reader knows the id after the first",
        at_once,
        1,
    ),
    Case("an Idempotency-Key of 300 characters", 400, VALUE, "255 at most", lambda c: c.rate(key="k" * 300, **UP)),
    Case(
        "an empty batch, or 1,001 statements in one",
        400,
        VALUE,
        "1 to 1,000",
        lambda c: [c.post(FEEDBACK, b'{"events":[]}'), batch(c, 1001)],
    ),
    Case(
        "a batch whose last statement is wrong",
        400,
        VALUE,
        "all or nothing: `param` names the one, and none is stored",
        lambda c: batch(c, 20, rating=9),
    ),
    Case("a batch whose last token is wrong", 403, TOKEN, "all or nothing", lambda c: batch(c, 20, token="x")),
)
