"""The only wiring of the monitor."""

from __future__ import annotations

import duckdb

from pawl_monitor.alerting.signature import ADVICE, secret_of
from pawl_monitor.api import routes
from pawl_monitor.api.logins import Logins
from pawl_monitor.console.pages import Pages
from pawl_monitor.domain.sessions import SessionPolicy
from pawl_monitor.domain.versions import VersionPolicy
from pawl_monitor.domain.watch import WatchPolicy
from pawl_monitor.handlers.alerts import ALERT, AlertFold, SendAlert
from pawl_monitor.handlers.folds import WEIGH, RecordFold, SessionFold, WatchFold
from pawl_monitor.handlers.retrain import StoredFeedback, WeighFeedback
from pawl_monitor.handlers.reviewing import Reviewing
from pawl_monitor.handlers.versions import VersionFold
from pawl_monitor.server import MonitorService
from pawl_monitor.settings import SERVICE, MonitorSettings
from pawl_monitor.storage.counting import Counting
from pawl_monitor.storage.cursors import Cursors
from pawl_monitor.storage.duckdb_store import open_database
from pawl_monitor.storage.reader import Reader
from pawl_monitor.storage.texts import Texts
from pawl_monitor.views.alarm_gather import AlarmGather
from pawl_monitor.views.gather import Gather
from pawl_monitor.views.lineage import Lineage
from pawl_shared import secret_files
from pawl_shared.access.service import Access
from pawl_shared.access.tokens import key_ring
from pawl_shared.artifacts import ArtifactStore
from pawl_shared.buses.kafka_bus import KafkaBus
from pawl_shared.buses.port import Bus
from pawl_shared.clock import Clock, SystemClock
from pawl_shared.errors import ConfigurationError
from pawl_shared.running.effects import one_thread
from pawl_shared.running.runner import Pace, Runner
from pawl_shared.sealed import master_keys
from pawl_shared.sealed.key_topic import KeyFollower
from pawl_shared.sealed.text import KeyRing as TextRing
from pawl_shared.sealed.text import Opener
from pawl_shared.sealed.topic_keys import TopicKeys, acknowledged
from pawl_shared.service import Health
from pawl_shared.stores.duckdb import DuckDbStore


def build(
    settings: MonitorSettings,
    *,
    bus: Bus | None = None,
    database: duckdb.DuckDBPyConnection | None = None,
    artifacts: ArtifactStore | None = None,
    clock: Clock | None = None,
) -> MonitorService:
    """The service, wired: the database is open, nothing else is connected yet.

    Raises:
        DatabaseInUseError: another process has the database open.
        ConfigurationError: a newer version of Pawl wrote it, or the secret of alerts is missing or none.
    """
    bus = bus or KafkaBus.of(settings)
    clock = clock or SystemClock()
    artifacts = artifacts or ArtifactStore(settings.artifacts, settings.artifact_cache)
    cursors = Cursors(database or open_database(settings.database))
    store = DuckDbStore(cursors())
    store.open()  # makes the runner's tables, which the console reads from its first request on
    source = f"pawl-{SERVICE}-{settings.instance}"
    policy, health, reader = WatchPolicy(), Health(SERVICE), Reader(cursors)
    masters = master_keys.of_settings(settings)
    key_follower = KeyFollower(bus, masters)
    texts = Texts(Opener(key_follower))
    counting = Counting(reader, texts)
    weigh = WeighFeedback(StoredFeedback(reader, artifacts, texts, counting), source)
    runner = Runner(
        SERVICE,
        source,
        settings.instance,
        bus,
        store,
        (
            SessionFold(SessionPolicy(gap=settings.session_gap), source),
            WatchFold(policy, source),
            VersionFold(VersionPolicy(), source),
            RecordFold(),
            *((AlertFold(settings.alert_rules),) if settings.alert_url else ()),
        ),
        {WEIGH: weigh, ALERT: send_alert(settings, clock, source)},
        on_ready=lambda: health.clear("start"),
        pace=Pace(gather=settings.gather_seconds, committer=lambda: one_thread("commit")),
    )
    gather = Gather(reader, counting, policy)
    publish = acknowledged(bus, f"{source}-reviews")
    ring = TextRing(TopicKeys(key_follower, masters, publish, source=source, clock=clock))
    asgi = routes.create(
        gather,
        AlarmGather(reader, texts),
        Lineage(reader, artifacts, texts),
        Reviewing(publish, key_ring(settings), ring, clock, source),
        Pages(),
        Logins(Access.of(settings, SERVICE, clock), secret_files.load_or_create(settings.console_key), clock),
        health,
        clock,
        settings.database.parent,
        settings.own_hosts,
    )
    return MonitorService(settings, bus, runner, key_follower, asgi, health, reader, cursors, clock, source)


def send_alert(settings: MonitorSettings, clock: Clock, source: str) -> SendAlert:
    """What posts alerts; where no receiver is set, what is still owed from before is dropped.

    Raises:
        ConfigurationError: the secret is missing, or is none.
    """
    url, secret = settings.alert_url, settings.alert_secret
    if url is not None and secret is None and settings.alert_format == "cloudevents":
        raise ConfigurationError(
            f"PAWL_ALERT_URL needs PAWL_ALERT_SECRET, so that its receiver can trust what it gets; {ADVICE}"
        )
    try:
        key = secret_of(secret.get_secret_value()) if secret else None
    except ValueError as error:
        raise ConfigurationError(f"PAWL_ALERT_SECRET: {error}") from error
    address = url.get_secret_value() if url else None
    return SendAlert(address, settings.alert_format, key, source, settings.console, clock)
