"""Spans by the conventions for generative AI become answers that were made elsewhere."""

import gzip
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi.testclient import TestClient
from google.protobuf import json_format
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from support.http_service import serving
from support.inference import World, eventually, running

from pawl_cli.running.ports import any_free
from pawl_inference.domain.external import span_id, version_of
from pawl_inference.domain.genai import Span, SpanError, answers_of
from pawl_shared.ids import uuid7
from pawl_shared.topics import INFERENCES

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ASKED = [{"role": "user", "parts": [{"type": "text", "content": "What is a pawl?"}]}]
SAID = [{"role": "assistant", "parts": [{"type": "text", "content": "A catch."}], "finish_reason": "stop"}]
CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-5-mini",
    "gen_ai.response.model": "gpt-5-mini-2025-08-07",
    "gen_ai.conversation.id": "conversation-1",
    "gen_ai.usage.input_tokens": 9,
    "gen_ai.usage.output_tokens": 4,
    "gen_ai.input.messages": json.dumps(ASKED),
    "gen_ai.output.messages": json.dumps(SAID),
}


def span(attributes: dict[str, Any], **fields: Any) -> Span:
    return Span("ab" * 16, "cd" * 8, NOW, NOW + timedelta(seconds=2), attributes, **fields)


def bare(**attributes: Any) -> dict[str, Any]:
    """A chat of before messages stood in attributes."""
    named = {name.replace("__", "."): value for name, value in attributes.items()}
    return {"gen_ai.operation.name": "chat", "gen_ai.system": "ollama", "gen_ai.request.model": "qwen/3"} | named


SHAPES = {
    "json": span(CHAT),
    "structured": span(CHAT | {"gen_ai.input.messages": ASKED, "gen_ai.output.messages": SAID}),
    "content events": span(
        bare(),
        events=[
            ("gen_ai.content.prompt", {"gen_ai.prompt": json.dumps([{"role": "user", "content": "What is a pawl?"}])}),
            ("gen_ai.content.completion", {"gen_ai.completion": json.dumps([{"content": "A catch."}])}),
        ],
    ),
    "one event a message": span(
        bare(),
        events=[
            ("gen_ai.user.message", {"content": "What is a pawl?"}),
            ("gen_ai.choice", {"index": 0, "finish_reason": "stop", "message": json.dumps({"content": "A catch."})}),
        ],
    ),
    "numbered": span(
        bare(
            gen_ai__prompt__0__role="user",
            gen_ai__prompt__0__content="What is a pawl?",
            gen_ai__completion__0__role="assistant",
            gen_ai__completion__0__content="A catch.",
        )
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_way_to_tell_of_a_chat_is_understood(shape: str) -> None:
    (made,) = answers_of(SHAPES[shape])
    assert [(turn.role, turn.text) for turn in made.messages] == [("user", "What is a pawl?")]
    assert (made.answer, made.finish_reason, made.total_seconds) == ("A catch.", "stop", 2.0)
    assert made.id == span_id("AB" * 16, "cd" * 8)


def test_a_slash_in_a_providers_name_is_no_tenant_and_the_app_may_name_the_model() -> None:
    (made,) = answers_of(SHAPES["numbered"])
    assert (made.model, made.provider, made.provider_model) == ("qwen-3", "ollama", "qwen/3")
    (named,) = answers_of(span(CHAT, resource={"pawl.model": "acme/support"}))
    assert (named.model, named.provider_model) == ("acme/support", "gpt-5-mini-2025-08-07")
    (closer,) = answers_of(span(CHAT | {"pawl.model": "assistant"}, resource={"pawl.model": "acme/support"}))
    assert closer.model == "assistant"


def test_what_is_no_answer_to_a_person_is_left_alone() -> None:
    call = {"type": "tool_call", "name": "search", "arguments": {}}
    for attributes in (
        CHAT | {"gen_ai.operation.name": "execute_tool"},
        CHAT | {"gen_ai.operation.name": "embeddings"},
        CHAT
        | {"gen_ai.output.messages": [{"role": "assistant", "parts": [call]}]}
        | {"gen_ai.response.id": uuid7_now()},
        CHAT | {"gen_ai.response.id": uuid7_now()},
    ):
        assert answers_of(span(attributes)) == []


def uuid7_now() -> str:
    return str(uuid7(NOW, Random(1)))


def test_choices_thoughts_tools_and_failures() -> None:
    thought = {"type": "reasoning", "content": "hm"}
    both = [{"role": "assistant", "parts": [thought, *each["parts"]]} for each in SAID * 2]
    assert [(a.choice, a.answer) for a in answers_of(span(CHAT | {"gen_ai.output.messages": both}))] == [
        (0, "A catch."),
        (1, "A catch."),
    ]
    tools = [
        {"role": "assistant", "parts": [{"type": "tool_call", "name": "find"}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "response": "a catch"}]},
        {"role": "model", "parts": [{"type": "blob", "content": "AAAA"}]},
    ]
    (made,) = answers_of(
        span(CHAT | {"gen_ai.input.messages": tools, "gen_ai.system_instructions": '[{"content": "Be."}]'})
    )
    assert [(turn.role, turn.text) for turn in made.messages] == [
        ("system", "Be."),
        ("assistant", '{"name": "find", "type": "tool_call"}'),
        ("tool", "a catch"),
        ("assistant", "[blob]"),
    ]
    asked = {name: value for name, value in CHAT.items() if name != "gen_ai.output.messages"}
    (failed,) = answers_of(span(asked, failed=True))
    assert (failed.answer, failed.finish_reason) == ("", "error")
    with pytest.raises(SpanError, match="capture content"):
        answers_of(span(asked))
    with pytest.raises(SpanError, match="model"):
        answers_of(span({name: value for name, value in CHAT.items() if not name.endswith(".model")}))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World(tmp_path_factory.mktemp("traces"))
    world.deploy(1)
    return world


@pytest.fixture(scope="module")
def url(world: World) -> Iterator[str]:
    port = any_free()
    with serving(world.build(http_port=port, max_trace_bytes=65_536), port) as url:
        yield f"{url}/v1/traces"


def logged(world: World, identity: UUID, count: int = 1) -> list[Any]:
    def found() -> Any:
        events = [each for each in world.read(INFERENCES) if each.inference_id == identity]
        return events if len(events) >= count else None

    return eventually(found)


def request(**attributes: Any) -> dict[str, Any]:
    """OTLP's JSON: ids in hex, 64-bit numbers as text, and fields that nobody knows yet."""
    now = time.time_ns()
    values = [
        {"key": key, "value": {"stringValue": value}}
        for key, value in (CHAT | attributes).items()
        if isinstance(value, str)
    ]
    one = {
        "traceId": "5B8EFFF798038103D269B633813FC60C",
        "spanId": "EEE19B7EC3C1B174",
        "name": "chat",
        "kind": 3,
        "startTimeUnixNano": str(now),
        "endTimeUnixNano": str(now + 10**9),
        "attributes": values,
        "new": 1,
    }
    return {"resourceSpans": [{"scopeSpans": [{"spans": [one]}]}]}


def test_the_real_exporter_is_understood(world: World, url: str) -> None:
    memory = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": "shop", "pawl.model": "support"}))
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(url, compression=Compression.Gzip, timeout=20)))
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("app")
    with tracer.start_as_current_span("request"), tracer.start_as_current_span("chat", attributes=CHAT):
        pass
    provider.shutdown()
    chat = next(each for each in memory.get_finished_spans() if each.name == "chat")
    assert chat.context is not None
    identity = span_id(f"{chat.context.trace_id:032x}", f"{chat.context.span_id:016x}")
    (event,) = logged(world, identity)
    assert (event.model, event.session, event.arm) == ("default/support", "conversation-1", "external")
    assert event.version == version_of("openai", "gpt-5-mini-2025-08-07")
    assert (event.answer, event.prompt_tokens, event.answer_tokens) == ("A catch.", 9, 4)
    assert event.metadata == {"service": "shop"}


def test_json_with_hex_ids_and_a_repeat_is_the_same_answer(world: World, url: str) -> None:
    body = request()
    answers = [httpx.post(url, json=body) for _ in range(2)]
    assert [(answer.status_code, answer.json()) for answer in answers] == [(200, {})] * 2
    first, second = logged(world, span_id("5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174"), 2)
    assert (first.id, first.time) == (second.id, second.time)


def test_what_cannot_be_logged_is_a_partial_success_that_says_why(world: World, url: str) -> None:
    body = request(**{"gen_ai.output.messages": ""})
    spans = body["resourceSpans"][0]["scopeSpans"][0]["spans"]
    good = request()["resourceSpans"][0]["scopeSpans"][0]["spans"][0] | {"spanId": "00" * 7 + "01"}
    old = good | {"spanId": "00" * 7 + "02", "startTimeUnixNano": "1"}
    spans += [good, old, {"traceId": "ab" * 16, "spanId": "cd" * 8, "name": "GET /"}]
    answer = httpx.post(url, json=body)
    told = answer.json()["partialSuccess"]
    assert (answer.status_code, told["rejectedSpans"]) == (200, "2")
    assert "capture content" in told["errorMessage"]
    assert "more than 7 days ago" in told["errorMessage"]
    logged(world, span_id("5b8efff798038103d269b633813fc60c", "00" * 7 + "01"))
    binary = json_format.ParseDict({"resourceSpans": []}, ExportTraceServiceRequest()).SerializeToString()
    empty = httpx.post(url, content=binary, headers={"content-type": "application/x-protobuf"})
    assert (empty.status_code, empty.content) == (200, b"")
    assert empty.headers["content-type"] == "application/x-protobuf"


@pytest.mark.parametrize("value", [5, 1.5, True])
def test_a_number_where_messages_should_stand_is_rejected_by_itself(value: object) -> None:
    with pytest.raises(SpanError, match="no messages"):
        answers_of(span(CHAT | {"gen_ai.input.messages": value}))


@pytest.mark.parametrize("ids", [("", ""), ("00" * 16, "cd" * 8), ("ab" * 16, "00" * 8)])
def test_a_span_without_ids_is_not_taken_for_the_repeat_of_another_one(ids: tuple[str, str]) -> None:
    with pytest.raises(SpanError, match="no ids"):
        answers_of(Span(*ids, NOW, NOW, CHAT))


PROTOBUF = {"content-type": "application/x-protobuf"}
ZIPPED = {"content-type": "application/json", "content-encoding": "gzip"}


@pytest.mark.parametrize(
    ("content", "headers", "status", "says"),
    [
        (b"\xff\xff", PROTOBUF, 400, "ExportTraceServiceRequest"),
        (b"[]", ZIPPED | {"content-encoding": ""}, 400, "ExportTraceServiceRequest"),
        (b"{", ZIPPED | {"content-encoding": ""}, 400, "ExportTraceServiceRequest"),
        (
            b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "zz"}]}]}]}',
            ZIPPED | {"content-encoding": ""},
            400,
            "hex",
        ),
        (b"[" * 60_000, ZIPPED | {"content-encoding": ""}, 400, "ExportTraceServiceRequest"),
        (b"{}", ZIPPED, 400, "not gzip"),
        (gzip.compress(b"{}", mtime=0)[:-4], ZIPPED, 400, "too early"),
        (gzip.compress(b" " * 10_000_000), ZIPPED, 413, "PAWL_MAX_TRACE_BYTES"),
        (gzip.compress(b"") * 17, ZIPPED, 400, "members"),
        (b" " * 65_537, PROTOBUF, 413, "PAWL_MAX_TRACE_BYTES"),
        (b"{}", ZIPPED | {"content-encoding": "br"}, 415, "gzip"),
        (b"{}", {"content-type": "text/plain"}, 415, "JSON"),
    ],
)
def test_what_is_refused_whole(url: str, content: bytes, headers: dict[str, str], status: int, says: str) -> None:
    answer = httpx.post(url, content=content, headers=headers)
    assert (answer.status_code, says in answer.json()["error"]["message"]) == (status, True), answer.text


def test_texts_that_no_record_can_hold_are_rejected(tmp_path: Path) -> None:
    with running(World(tmp_path), max_request_bytes=1024) as service:
        client = TestClient(service.asgi)
        answer = client.post(
            "/v1/traces", json=request(**{"gen_ai.output.messages": json.dumps([{"content": "x" * 2000}])})
        )
    assert "PAWL_MAX_REQUEST_BYTES" in answer.json()["partialSuccess"]["errorMessage"]
