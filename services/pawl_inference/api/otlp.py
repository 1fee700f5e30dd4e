"""POST /v1/traces: OTLP by HTTP, as protobuf or JSON, plain or gzip. Chat spans become answers that were made
elsewhere; what they are is decided in domain/genai.py. Source: opentelemetry.io/docs/specs/otlp, version 1.9."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import zlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from pawl_inference import errors, metrics
from pawl_inference.domain.external import AgeError
from pawl_inference.domain.genai import Span, SpanError, answers_of, told
from pawl_inference.errors import ApiError
from pawl_inference.handlers.external import ExternalHandler

PROTOBUF, JSON = "application/x-protobuf", "application/json"
# Journalling one answer takes some 0.1 ms: so many, and others get their turn.
_AT_ONCE = 50
_IDS = ("traceId", "spanId", "parentSpanId")
_NANOSECONDS = 1e9
# What is behind a member of gzip is copied before it is read: 800,000 empty ones in 16 MiB would take a quarter hour.
_MOST_MEMBERS = 16
# A JSON body may nest values; deeper ones are nobody's attributes.
_DEPTH = 64


class TraceHandler:
    """`max_record_bytes`: of the texts of one answer, as the log's records hold no more."""

    def __init__(self, external: ExternalHandler, *, max_bytes: int, max_record_bytes: int) -> None:
        self._external = external
        self._max_bytes = max_bytes
        self._max_record_bytes = max_record_bytes

    async def post(self, body: bytes, kind: str, encoding: str) -> bytes:
        """The response, of the same kind as the body. Raises ApiError: 400, 413, 415, or 503, after which the exporter
        sends it again; ids are those of the spans, so that what was journalled before counts once."""
        self._external.refuse_if_full()
        # Decoding 16 MiB of JSON takes seconds: answers must not wait for it.
        spans, others = await asyncio.to_thread(_read, body, kind, encoding, self._max_bytes)
        refused: list[str] = []
        logged = 0
        for number, span in enumerate(spans, 1):
            try:
                logged += self._log(span)
            except (SpanError, AgeError) as error:
                refused.append(str(error))
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
        metrics.SPANS.labels("logged").inc(logged)
        metrics.SPANS.labels("refused").inc(len(refused))
        metrics.SPANS.labels("ignored").inc(others + len(spans) - logged - len(refused))
        return _response(kind, refused)

    def _log(self, span: Span) -> bool:
        found = answers_of(span)
        for item in found:
            size = sum(len(turn.text.encode("utf-8", "replace")) for turn in item.messages) + len(item.answer.encode())
            if size > self._max_record_bytes:
                limit = f"{self._max_record_bytes} bytes (PAWL_MAX_REQUEST_BYTES)"
                raise SpanError(f"the texts of a chat span are larger than {limit}")
        for item in found:
            self._external.span(item)
        return bool(found)


def _read(body: bytes, kind: str, encoding: str, limit: int) -> tuple[list[Span], int]:
    """The spans that say anything of generative AI, and how many others there were."""
    request = _decoded(_inflated(body, encoding, limit), kind)
    found, others = [], 0
    for resource in request.resource_spans:
        whose = _attributes(resource.resource.attributes)
        for scope in resource.scope_spans:
            for span in scope.spans:
                if any(each.key.startswith(("gen_ai.", "llm.")) for each in span.attributes):
                    found.append(_span(span, whose))
                else:
                    others += 1
    return found, others


def _inflated(body: bytes, encoding: str, limit: int) -> bytes:
    if encoding in ("", "identity"):
        return body
    if encoding != "gzip":
        raise ApiError(415, f"Unsupported content encoding {encoding!r}: send gzip or none.", "unsupported_encoding")
    parts, size, members = [], 0, 0
    while body:
        members += 1
        if members > _MOST_MEMBERS:
            raise errors.invalid(None, f"The body is gzip of more than {_MOST_MEMBERS} members; exporters send one.")
        inflater = zlib.decompressobj(wbits=31)
        try:
            parts.append(inflater.decompress(body, limit + 1 - size))
        except zlib.error as error:
            raise errors.invalid(None, f"The body is not gzip, though its encoding says so: {error}.") from error
        size += len(parts[-1])
        if size > limit:
            text = f"The spans are larger than {limit} bytes without compression (PAWL_MAX_TRACE_BYTES)."
            raise ApiError(413, text, "request_too_large")
        if not inflater.eof:
            raise errors.invalid(None, "The body is gzip that ends too early.")
        body = inflater.unused_data
    return b"".join(parts)


def _decoded(body: bytes, kind: str) -> Any:
    request = ExportTraceServiceRequest()
    try:
        if kind == PROTOBUF:
            request.ParseFromString(body)
        else:
            value = _with_base64_ids(json.loads(body))
            json_format.ParseDict(value, request, ignore_unknown_fields=True, max_recursion_depth=_DEPTH)
    except (DecodeError, json_format.ParseError, ValueError, TypeError, AttributeError, RecursionError) as error:
        text = f"The body is not an ExportTraceServiceRequest of OTLP as {kind}: {error}."
        raise errors.invalid(None, text, "invalid_otlp") from error
    return request


def _with_base64_ids(body: Any) -> Any:
    """OTLP writes ids in hex where protobuf's JSON has base64."""
    for span in _raw_spans(body):
        for name in _IDS:
            if span.get(name):
                try:
                    span[name] = base64.b64encode(bytes.fromhex(span[name])).decode()
                except (ValueError, TypeError, binascii.Error) as error:
                    raise ValueError(f"{name} is not hex") from error
    return body


def _raw_spans(body: Any) -> Iterator[dict[str, Any]]:
    for resource in body.get("resourceSpans") or ():
        for scope in resource.get("scopeSpans") or ():
            for span in scope.get("spans") or ():
                yield span
                yield from span.get("links") or ()


def _span(span: Any, resource: Mapping[str, Any]) -> Span:
    return Span(
        trace=span.trace_id.hex(),
        span=span.span_id.hex(),
        start=_time(span.start_time_unix_nano),
        end=_time(span.end_time_unix_nano),
        attributes=_attributes(span.attributes),
        resource=resource,
        events=[(event.name, _attributes(event.attributes)) for event in span.events],
        failed=span.status.code == Status.STATUS_CODE_ERROR,
    )


def _time(nanoseconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(nanoseconds / _NANOSECONDS, UTC)
    except (OverflowError, ValueError, OSError):
        return datetime.max.replace(tzinfo=UTC)


def _attributes(values: Any) -> dict[str, Any]:
    return {each.key: _value(each.value) for each in values}


def _value(value: Any) -> Any:
    match value.WhichOneof("value"):
        case "array_value":
            return [_value(each) for each in value.array_value.values]
        case "kvlist_value":
            return _attributes(value.kvlist_value.values)
        case None:
            return None
        case name:
            return getattr(value, name)


def _response(kind: str, refused: list[str]) -> bytes:
    response = ExportTraceServiceResponse()
    if refused:
        response.partial_success.rejected_spans = len(refused)
        response.partial_success.error_message = told(refused)
    if kind == PROTOBUF:
        return bytes(response.SerializeToString())
    return str(json_format.MessageToJson(response, indent=None)).encode()
