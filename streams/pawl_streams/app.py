"""The streams service: Faust joins feedback to answers and publishes interactions."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from typing import Any

import faust
from aiokafka.errors import KafkaError  # type: ignore[import-untyped]

from pawl_shared import logging
from pawl_shared.access.tokens import key_ring
from pawl_shared.buses.kafka_bus import KafkaBus
from pawl_shared.buses.kafka_settings import KafkaSettings
from pawl_shared.buses.port import Bus
from pawl_shared.clock import SystemClock
from pawl_shared.errors import BusError
from pawl_shared.metrics import Lags
from pawl_shared.sealed import master_keys
from pawl_shared.sealed.key_topic import KeyFollower
from pawl_shared.sealed.text import KeyRing as TextRing
from pawl_shared.sealed.topic_keys import TopicKeys, acknowledged
from pawl_shared.service import Health, serve_health
from pawl_shared.topics import TOPICS
from pawl_streams import policy
from pawl_streams.agents import define_agents
from pawl_streams.fenced_table import FencedTable
from pawl_streams.fold import JoinFold
from pawl_streams.language import Identify, load_identifier
from pawl_streams.lateness import Window
from pawl_streams.lossless_faust import LosslessApp
from pawl_streams.policy import Policies
from pawl_streams.rewards import RewardFollower
from pawl_streams.settings import SERVICE, StreamsSettings

# How long Faust may take to end. It waits for what it is at, and that for a broker that is away: without end.
STOP_SECONDS = 20.0
log = logging.get("pawl.streams")


class StreamsService:
    """Runs a Faust app until it is told to stop. `leave` ends the process at once."""

    def __init__(
        self,
        make_app: Callable[[], Any],
        bus: Bus,
        keys: KeyFollower,
        rewards: RewardFollower,
        health: Health,
        lags: Lags,
        settings: StreamsSettings,
        leave: Callable[[int], Any] = os._exit,
    ) -> None:
        self._make_app, self._bus, self._keys, self._rewards, self._health = make_app, bus, keys, rewards, health
        self._behind, self._settings, self._leave = lags.of("joins"), settings, leave

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set. Raises BusError when Faust cannot begin or gives up; a supervisor starts it again."""
        server = serve_health(self._health, self._settings)
        try:
            self._bus.create_topics(TOPICS)
            self._keys.start()
            self._rewards.start()
            asyncio.run(self._work(stop))
        finally:
            self._rewards.stop()
            self._keys.stop()
            server.shutdown()

    async def _work(self, stop: threading.Event) -> None:
        # Faust binds to the running loop, so the app is made inside it.
        app = self._make_app()
        app.finalize()
        try:
            await app.start()
        except KafkaError as error:  # librdkafka has been there a moment ago: mostly what differs, such as TLS
            raise BusError(f"Faust cannot begin: {error}") from error
        self._health.clear("start")
        try:
            while not stop.is_set():
                if app.should_stop:
                    raise BusError(f"Faust stopped: {app.crash_reason or 'see the log above'}")
                self._behind(app.consumer.behind())
                await asyncio.sleep(0.1)
        finally:
            await self._end(app, 0 if stop.is_set() else 1)

    async def _end(self, app: Any, status: int) -> None:
        """As by SIGKILL where it takes too long: what is not acknowledged is handled again, and counts once."""
        ending = asyncio.ensure_future(app.stop())
        await asyncio.wait([ending], timeout=STOP_SECONDS)
        if not ending.done():
            log.warning("Faust does not end: does a broker answer? What it is at is handled again", after=STOP_SECONDS)
            self._leave(status)
        await ending


def credentials(settings: KafkaSettings) -> faust.Credentials | None:
    """What Faust's own client shows to brokers; none where they ask for nothing."""
    context, mechanism = settings.tls_context(), settings.kafka_sasl_mechanism
    if mechanism is None:
        return faust.SSLCredentials(context) if context else None
    return faust.SASLCredentials(
        username=settings.kafka_sasl_username, password=settings.password(), mechanism=mechanism, ssl_context=context
    )


def build(settings: StreamsSettings, identify: Identify | None = None) -> StreamsService:
    """The only place where the service is put together. Raises ConfigurationError: a key or the policy is wrong."""
    source = f"pawl-{SERVICE}-{settings.instance}"
    bus = KafkaBus.of(settings)
    masters = master_keys.of_settings(settings)
    lags = Lags(SERVICE)
    keys = KeyFollower(bus, masters, behind=lags.of("keys"))
    texts = TextRing(TopicKeys(keys, masters, acknowledged(bus, f"{source}-keys"), source=source, clock=SystemClock()))
    rewards, tokens = RewardFollower(bus), key_ring(settings)
    policies = Policies(policy.load(settings.streams_policy), rewards.of)
    fold = JoinFold(source, identify or load_identifier(), policies, Window(settings.join_window, settings.join_lag))

    def make_app() -> Any:
        data = settings.data_dir / SERVICE / settings.instance
        data.mkdir(parents=True, exist_ok=True)
        app = LosslessApp(
            "pawl-streams",
            broker=[f"kafka://{server}" for server in settings.kafka_bootstrap_servers.split(",")],
            broker_credentials=credentials(settings),
            store="memory://",
            Table=FencedTable,
            # A table in memory is restored from its beginning, so that a standby's copy would be of no use.
            table_standby_replicas=0,
            datadir=str(data),
            processing_guarantee="at_least_once",
            topic_disable_leader=True,
            broker_commit_interval=0.5,
            # How long a killed worker's partitions wait for a successor; Faust's own default is a minute.
            broker_session_timeout=10.0,
            broker_heartbeat_interval=3.0,
            broker_rebalance_timeout=15.0,
            producer_acks=-1,
            producer_linger=0.005,  # seconds
            web_enabled=False,
            autodiscover=False,
        )
        define_agents(app, fold, tokens, texts)
        return app

    return StreamsService(make_app, bus, keys, rewards, Health(SERVICE), lags, settings)
