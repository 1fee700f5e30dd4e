"""Tells Pawl of answers that your app gets from any provider, and of what people think of them. One file; needs httpx.

    pawl = Pawl("http://127.0.0.1:8000", model="support", api_key=...)

    @pawl.traced(provider="openai")
    def ask(messages):
        return openai.chat.completions.create(model="gpt-5-mini", messages=messages)

    answer = ask([{"role": "user", "content": "What is a pawl?"}])
    rating = pawl.last()               # keep it with the answer
    rating.feedback(thumb="down", correction="A catch.")

Everything is sent by a thread of its own, from a bounded queue: Pawl may be slow, full or away, and the app does not
notice. What cannot be sent for five minutes, or does not fit into the queue, is dropped with a warning in the log.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import inspect
import logging
import os
import queue
import random
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx

log = logging.getLogger("pawl_client")
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
_last: ContextVar[Rating | None] = ContextVar("pawl_last", default=None)


@dataclass
class _Post:
    """A request that waits to be sent. Its key makes a repeat harmless."""

    path: str
    body: dict[str, Any]
    rating: Rating
    key: str = field(default_factory=lambda: str(uuid.uuid4()))
    until: float = 0.0


class Rating:
    """The handle of one answer: what people think of it."""

    def __init__(self, pawl: Pawl) -> None:
        self.id = str(_uuid7())
        self._pawl = pawl
        self._told = threading.Event()
        self._token: str | None = None

    def feedback(self, **said: Any) -> None:
        """Say what somebody thought: thumb="up" or "down", rating=1…5, correction, comment, metrics, outcomes, signals
        (docs/feedback.md). Never waits, never raises."""
        self._pawl._put(_Post("/v1/feedback", {"inference_id": self.id, **said}, self))

    def token(self, timeout: float = 5.0) -> str | None:
        """The right to rate this answer, for a page with <pawl-thumbs>; None if Pawl did not answer in time."""
        self._told.wait(timeout)
        return self._token

    def _tell(self, token: str | None) -> None:
        self._token = token
        self._told.set()


class Pawl:
    """One for a process. `capacity`: posts that may wait; `give_up_seconds`: how long one is tried."""

    def __init__(
        self,
        url: str,
        *,
        model: str,
        api_key: str | None = None,
        capacity: int = 1000,
        give_up_seconds: float = 300.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = functools.partial(httpx.Client, base_url=url, headers=headers, timeout=10.0, transport=transport)
        self._model, self._capacity, self._give_up = model, capacity, give_up_seconds
        self.dropped = 0
        self._begin()
        # A child of fork() has no threads: it begins with an empty queue and one of its own.
        os.register_at_fork(after_in_child=self._begin)
        atexit.register(self.close, 2.0)

    def _begin(self) -> None:
        self._queue: queue.Queue[_Post] = queue.Queue(self._capacity)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def log(self, *, messages: Sequence[Mapping[str, Any]], answer: str, **told: Any) -> Rating:
        """Tell of one answer: any field of POST /v1/inferences (docs/apps.md). Never waits, never raises."""
        rating = Rating(self)
        body = {
            "model": self._model,
            "id": rating.id,
            "messages": [_plain(each) for each in messages],
            "answer": answer,
            **told,
        }
        self._put(_Post("/v1/inferences", body, rating))
        _last.set(rating)
        return rating

    def last(self) -> Rating | None:
        """The handle of the answer that was traced last, in this thread or task."""
        return _last.get()

    def traced(self, function: Callable[..., Any] | None = None, /, **told: Any) -> Any:
        """Decorates a function, plain or async, that asks a model. It has a parameter `messages`, or `prompt`, and
        answers with a string or with what OpenAI's SDK gives. `told`: further fields, as for `log`; a callable is
        given the function's arguments by name."""
        if function is None:
            return functools.partial(self.traced, **told)
        signature = inspect.signature(function)

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def answered(*args: Any, **kwargs: Any) -> Any:
                started = time.monotonic()
                try:
                    result = await function(*args, **kwargs)
                except (Exception, asyncio.CancelledError) as error:
                    self._note(signature, args, kwargs, error, started, told)
                    raise
                self._note(signature, args, kwargs, result, started, told)
                return result

        else:

            @functools.wraps(function)
            def answered(*args: Any, **kwargs: Any) -> Any:
                started = time.monotonic()
                try:
                    result = function(*args, **kwargs)
                except Exception as error:
                    self._note(signature, args, kwargs, error, started, told)
                    raise
                self._note(signature, args, kwargs, result, started, told)
                return result

        return answered

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until everything is sent or given up; whether it was in time."""
        until = time.monotonic() + timeout
        while self._queue.unfinished_tasks and time.monotonic() < until:
            time.sleep(0.01)
        return not self._queue.unfinished_tasks

    def close(self, timeout: float = 10.0) -> None:
        """Send what waits, for at most `timeout` seconds, and end the thread."""
        self.flush(timeout)
        self._stop.set()

    def _note(
        self, signature: inspect.Signature, args: Any, kwargs: Any, result: Any, started: float, told: dict[str, Any]
    ) -> None:
        """Whatever is wrong here is the log's business, never the app's."""
        try:
            given = dict(signature.bind(*args, **kwargs).arguments)
            fields = {name: each(given) if callable(each) else each for name, each in told.items()}
            fields.setdefault("total_seconds", time.monotonic() - started)
            prompt = given.get("prompt")
            messages = fields.pop("messages", None) or given.get("messages")
            self.log(**{"messages": messages or [{"role": "user", "content": str(prompt)}], **_read(result), **fields})
        except Exception:
            log.warning("an answer could not be told to Pawl", exc_info=True)

    def _put(self, post: _Post) -> None:
        post.until = time.monotonic() + self._give_up
        try:
            self._queue.put_nowait(post)
        except queue.Full:
            self._drop(post, f"{self._capacity} posts wait already")
            return
        with self._lock:
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._run, name="pawl-client", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        with self._client() as client:
            while not self._stop.is_set():
                try:
                    post = self._queue.get(timeout=0.1)
                except queue.Empty:
                    continue
                try:
                    self._send(client, post)
                except Exception as error:  # what is no JSON, say
                    self._drop(post, repr(error))
                finally:
                    self._queue.task_done()

    def _send(self, client: httpx.Client, post: _Post) -> None:
        if (
            post.path == "/v1/feedback"
        ):  # its answer went before it, so that its token is known by now, or never will be
            if post.rating._token is None:
                return self._drop(post, "its answer was not taken")
            post.body["token"] = post.rating._token
        delay = 0.2
        while True:
            wait, why = delay * (0.5 + random.random() / 2), ""  # noqa: S311 - spreads repeats, keeps no secret
            try:
                answer = client.post(post.path, json=post.body, headers={"Idempotency-Key": post.key})
                if answer.status_code == 202:
                    if post.path == "/v1/inferences":
                        post.rating._tell(answer.json()["inferences"][0]["feedback_token"])
                    return None
                why = f"{answer.status_code} {answer.text[:300]}"
                if answer.status_code not in _RETRIED:
                    return self._drop(post, why)
                wait = max(wait, _seconds(answer.headers.get("retry-after")))
            except httpx.TransportError as error:
                why = repr(error)
            if time.monotonic() + wait > post.until or self._stop.wait(wait):
                return self._drop(post, why)
            delay = min(delay * 2, 30.0)

    def _drop(self, post: _Post, why: str) -> None:
        self.dropped += 1
        if post.path == "/v1/inferences":
            post.rating._tell(None)
        log.warning("dropped a post to %s: %s", post.path, why)


def _read(result: Any) -> dict[str, Any]:
    """What POST /v1/inferences wants to know of a string, of a ChatCompletion, or of an exception."""
    if isinstance(result, BaseException):
        return {"answer": "", "finish_reason": "error"}
    if isinstance(result, str):
        return {"answer": result}
    choice = result.choices[0]
    told = {"answer": choice.message.content or "", "provider_model": str(result.model or "")}
    told["finish_reason"] = choice.finish_reason or "stop"
    if result.usage is not None:
        told["usage"] = {
            "prompt_tokens": result.usage.prompt_tokens,
            "completion_tokens": result.usage.completion_tokens,
        }
    return told


def _plain(message: Any) -> Any:
    """A turn as JSON; OpenAI's SDK gives an answer's turn as a model, and apps send it back with the next question."""
    return message.model_dump(exclude_none=True) if hasattr(message, "model_dump") else message


def _seconds(header: str | None) -> float:
    return float(header) if header and header.isdecimal() else 0.0


def _uuid7() -> uuid.UUID:
    """Tells its time, so that a repeat has the same one (RFC 9562, section 5.7)."""
    milliseconds = int(datetime.now(UTC).timestamp() * 1000)
    low = int.from_bytes(os.urandom(10), "big")
    value = milliseconds << 80 | 0x7 << 76 | (low >> 68) << 64 | 0b10 << 62 | low & ((1 << 62) - 1)
    return uuid.UUID(int=value)
