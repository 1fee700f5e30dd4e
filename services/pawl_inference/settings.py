"""What the inference service is told from outside."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import Field, SecretStr

from pawl_inference.engine.settings import MAX_BATCH_LIMIT, ProviderName
from pawl_shared.settings import Port, TokenSettings

SERVICE = "inference"
# As browsers write it: nothing behind the host and port.
Origin = Annotated[str, Field(pattern=r"^(\*|https?://[^/\s,*?#@]+)$")]


class InferenceSettings(TokenSettings):
    """Settings of pawl_inference, beside those that all services share."""

    http_port: Port = Field(default=8000, description="port to listen on; 0: any free one")
    feedback_origins: tuple[Origin, ...] = Field(
        default=(),
        description="JSON list of the origins whose pages may post feedback with its token alone, such as "
        '["https://app.example.com"]; ["*"]: any; empty: feedback needs an API key where there are any',
    )
    max_request_bytes: int = Field(
        default=512 << 10, ge=1024, le=640 << 10, description="largest request body; a log record must hold it"
    )
    max_trace_bytes: int = Field(
        default=16 << 20, ge=1024, le=256 << 20, description="largest body of /v1/traces, and what it holds unpacked"
    )
    token_lifetime: timedelta = Field(
        default=timedelta(days=7), gt=timedelta(0), description="how long an answer may be rated (ISO 8601 or seconds)"
    )
    subject_key: SecretStr | None = Field(
        default=None, description="key (64 hex digits) that hashes user ids; none: made and kept in DATA_DIR/keys"
    )
    journal_max_bytes: int = Field(
        default=1 << 30, ge=32 << 20, description="answers waiting for the broker; beyond it new requests get a 503"
    )
    engine_provider: ProviderName = Field(
        default="cpu",
        description="what computes answers: cpu, or cuda (needs onnxruntime-gpu, and an fp16 graph is best)",
    )
    engine_device: int = Field(default=0, ge=0, description="number of the GPU that computes, with cuda")
    engine_threads: int = Field(default=0, ge=0, description="threads that compute answers; 0: one for each core")
    engine_max_batch: int = Field(default=8, ge=1, le=MAX_BATCH_LIMIT, description="answers computed at the same time")
    engine_slots: int = Field(
        default=12,
        ge=1,
        description="adapters held at once: live, draining, and one to load into; memory is taken as they fill",
    )
    engine_prefix_cache_bytes: int = Field(
        default=128 << 20, ge=0, description="memory for beginnings of prompts that are not computed again; 0: none"
    )
    engine_max_waiting: int = Field(
        default=64,
        ge=0,
        description="requests that may wait, of one API key or user half as many; further ones get a 429",
    )
    shutdown_grace_seconds: int = Field(
        default=10, ge=0, description="how long answers in flight may take at the end before they are cut"
    )
    request_timeout_seconds: float = Field(
        default=600.0,
        gt=0,
        description="how long a request may take; a shorter time may be asked for by the header x-request-timeout",
    )
    feedback_timeout_seconds: float = Field(
        default=15.0, gt=0, description="how long a post of feedback waits for the broker before it gets a 503"
    )
