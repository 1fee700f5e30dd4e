"""The only wiring of the inference service."""

from __future__ import annotations

import os
from random import Random, SystemRandom

from pawl_inference import metrics
from pawl_inference.api import routes
from pawl_inference.api.otlp import TraceHandler
from pawl_inference.engine import provider
from pawl_inference.engine.onnx_engine import OnnxEngine
from pawl_inference.engine.settings import EngineSettings
from pawl_inference.handlers.answering import AnswerHandler, AnswerPolicy
from pawl_inference.handlers.external import ExternalHandler
from pawl_inference.handlers.feedback import FeedbackHandler
from pawl_inference.record.answer_log import AnswerLog
from pawl_inference.record.feedback_sender import FeedbackSender
from pawl_inference.record.forwarder import Forwarder
from pawl_inference.record.journal import Journal
from pawl_inference.record.publisher import Publisher
from pawl_inference.server import InferenceService
from pawl_inference.settings import SERVICE, InferenceSettings
from pawl_inference.versions.deployments import Deployments
from pawl_inference.versions.follower import DeploymentFollower
from pawl_inference.versions.hosts import Artifacts, EngineFactory
from pawl_inference.versions.reports import Reports
from pawl_inference.versions.residency import Residency
from pawl_inference.versions.routing import RouteTable
from pawl_shared import secret_files
from pawl_shared.access.service import Access
from pawl_shared.access.tokens import key_ring
from pawl_shared.artifacts import ArtifactStore
from pawl_shared.buses.kafka_bus import KafkaBus
from pawl_shared.buses.port import Bus
from pawl_shared.clock import Clock, SystemClock
from pawl_shared.metrics import Lags
from pawl_shared.sealed import master_keys
from pawl_shared.sealed.events import of_one_request
from pawl_shared.sealed.key_topic import KeyFollower
from pawl_shared.sealed.text import KeyRing as TextRing
from pawl_shared.sealed.topic_keys import Keep, TopicKeys
from pawl_shared.service import Health

# The broker gives up on a message after 120 s; the journal then sends it again.
_FORWARD_TIMEOUT = 130.0


def build(
    settings: InferenceSettings,
    *,
    bus: Bus | None = None,
    artifacts: Artifacts | None = None,
    make_engine: EngineFactory | None = None,
    clock: Clock | None = None,
    rng: Random | None = None,
) -> InferenceService:
    """The service, wired but not started: nothing connects here.

    Raises:
        ConfigurationError: a key cannot be read, another process uses the same journal, or ONNX Runtime lacks the
            provider.
    """
    bus = bus or KafkaBus.of(settings)
    artifacts = artifacts or ArtifactStore(settings.artifacts, settings.artifact_cache)
    clock, rng = clock or SystemClock(), rng or SystemRandom()
    source = f"pawl-{SERVICE}-{settings.instance}"
    timeout = settings.feedback_timeout_seconds
    health, table = Health(SERVICE), RouteTable()
    journal = _journal(settings)
    tokens = key_ring(settings)
    reports = Reports(
        Publisher(bus, f"{source}-reports", timeout), source=source, url=_url(settings), clock=clock, rng=rng
    )
    masters = master_keys.of_settings(settings)
    lags = Lags(SERVICE)
    key_follower = KeyFollower(
        bus,
        masters,
        unreadable=reports.unreadable,
        revived=reports.erase_again,
        behind=lags.of("keys"),
        passing=of_one_request,
    )
    posts = Publisher(bus, f"{source}-feedback", timeout)

    def ring(keep: Keep) -> TextRing:
        return TextRing(TopicKeys(key_follower, masters, keep, source=source, clock=clock))

    sender = FeedbackSender(posts, timeout)
    metrics.FEEDBACK_WAITING.set_function(lambda: sender.waiting)
    feedback = FeedbackHandler(tokens, ring(posts.publish), sender, source=source, clock=clock, rng=rng)
    policy = AnswerPolicy(
        source, _subject_key(settings), tokens, settings.token_lifetime, settings.request_timeout_seconds
    )
    log, residency = AnswerLog(journal, ring), Residency(artifacts)
    answers = AnswerHandler(policy, table, log, residency=residency, clock=clock, rng=rng)
    external = ExternalHandler(policy, log, clock=clock, rng=rng)
    asgi = routes.create(
        answers=answers,
        feedback=feedback,
        external=external,
        traces=TraceHandler(external, max_bytes=settings.max_trace_bytes, max_record_bytes=settings.max_request_bytes),
        routes=table,
        health=health,
        access=Access.of(settings, SERVICE, clock),
        feedback_origins=settings.feedback_origins,
        max_request_bytes=settings.max_request_bytes,
        max_trace_bytes=settings.max_trace_bytes,
    )
    follower = DeploymentFollower(
        bus, Deployments(artifacts, make_engine or _onnx(settings), table), health, reports, lags.of("deployments")
    )
    metrics.CUT_OFF.set_function(lambda: follower.cut_off_seconds)
    return InferenceService(
        settings,
        asgi=asgi,
        answers=answers,
        routes=table,
        health=health,
        journal=journal,
        forwarder=Forwarder(journal, Publisher(bus, f"{source}-journal", _FORWARD_TIMEOUT)),
        key_follower=key_follower,
        follower=follower,
        feedback=feedback,
        reports=reports,
        residency=residency,
    )


def _onnx(settings: InferenceSettings) -> EngineFactory:
    sizes = EngineSettings(
        threads=settings.engine_threads or os.cpu_count() or 1,
        max_batch=settings.engine_max_batch,
        slots=settings.engine_slots,
        max_waiting=settings.engine_max_waiting,
        provider=provider.choose(settings.engine_provider, settings.engine_device),
        prefix_cache_bytes=settings.engine_prefix_cache_bytes,
    )
    return lambda folder, graph: OnnxEngine(folder, graph, sizes)


def _journal(settings: InferenceSettings) -> Journal:
    folder = settings.data_dir / SERVICE / settings.instance / "journal"
    journal = Journal(folder, max_bytes=settings.journal_max_bytes)
    metrics.BACKLOG.set_function(lambda: journal.backlog)
    metrics.JOURNAL_BYTES.set_function(lambda: journal.size)
    metrics.JOURNAL_DAMAGED.set(journal.damaged)
    return journal


def _subject_key(settings: InferenceSettings) -> bytes:
    return secret_files.given_or_made(
        settings.subject_key, settings.data_dir / "keys" / "subject.key", "PAWL_SUBJECT_KEY"
    )


def _url(settings: InferenceSettings) -> str:
    """Where others reach this replica; not known before the start when any free port is taken."""
    return f"http://{settings.http_host}:{settings.http_port}" if settings.http_port else ""
