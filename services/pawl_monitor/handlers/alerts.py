"""Alerts as effects: what the rules say is owed by the commit that says so, and sent until somebody has it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from logging import WARNING, getLogger

import httpx

from pawl_monitor import metrics
from pawl_monitor.alerting.formats import Format, body_of
from pawl_monitor.alerting.signature import signed_headers
from pawl_monitor.domain.alerts import Alert, AlertRules, Health, keys_of
from pawl_shared import events as e
from pawl_shared import logging, topics
from pawl_shared.clock import Clock
from pawl_shared.running.effects import EffectContext
from pawl_shared.running.fold import Delivery, Step
from pawl_shared.stores.port import Effect
from pawl_shared.topics import names

ALERT = "alert"
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 300.0
GIVE_UP = timedelta(hours=24)
TIMEOUT_SECONDS = 10.0


class AlertFold:
    """Events into alerts."""

    name = "alerts"
    topics = names(
        topics.DRIFT,
        topics.TRAINING,
        topics.CANDIDATES,
        topics.MODELS,
        topics.DEPLOYMENTS,
        topics.REPLICAS,
        topics.DEAD_LETTERS,
        topics.EVIDENCE,
    )
    state = Health

    def __init__(self, rules: AlertRules) -> None:
        self._rules = rules

    def keys(self, event: e.Event) -> Sequence[str]:
        return tuple(keys_of(event))

    def step(self, key: str, state: Health | None, delivery: Delivery) -> Step[Health]:
        new, alerts = self._rules.step(state or Health(), key, delivery.event, delivery.at)
        return Step(new, effects=tuple(Effect(alert.id, ALERT, alert.model_dump_json()) for alert in alerts))


class SendAlert:
    """Handles effects of kind `alert`: posts each until the receiver answers with success, one after the other.

    The effect stays owed until then, also over restarts, so a receiver may get it twice: with the same id. What is
    older than a day is dropped, as is the backlog of a log that is read for the first time.
    """

    def __init__(
        self,
        url: str | None,
        form: Format,
        secret: bytes | None,
        source: str,
        console: str,
        clock: Clock,
        first_pause: float = FIRST_PAUSE,
    ) -> None:
        self._url, self._form, self._secret, self._source = url, form, secret, source
        self._console, self._clock, self._first_pause = console, clock, first_pause
        self._log = logging.get("pawl.monitor")
        # its lines name the address that is posted to, which for Slack is the secret itself
        getLogger("httpx").setLevel(WARNING)

    def __call__(self, effect: Effect, context: EffectContext) -> Sequence[e.Event]:
        alert = Alert.model_validate_json(effect.payload)
        content_type, body = body_of(self._form, alert, self._source, self._console)
        pause, attempts = self._first_pause, 0
        while self._url and not context.cancelled.is_set():
            if self._clock.now() - alert.time > GIVE_UP:
                metrics.ALERTS.labels("dropped").inc()
                self._log.error("an alert is too old to be sent", alert=str(alert.id), title=alert.title)
                break
            attempts += 1
            problem = self._post(self._url, alert, content_type, body)
            if problem is None:
                metrics.ALERTS.labels("sent").inc()
                self._log.info("alert sent", alert=str(alert.id), title=alert.title, attempts=attempts)
                break
            metrics.ALERTS.labels("failed").inc()
            self._log.warning("an alert was not taken", alert=str(alert.id), reason=problem, again_in=pause)
            context.cancelled.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        return ()

    def _post(self, url: str, alert: Alert, content_type: str, body: bytes) -> str | None:
        """Why the receiver has not taken it; None when it has."""
        headers = {"content-type": content_type}
        if self._secret:  # anew for each attempt, since receivers refuse old timestamps
            headers |= signed_headers(self._secret, str(alert.id), int(self._clock.now().timestamp()), body)
        try:
            response = httpx.post(url, content=body, headers=headers, timeout=TIMEOUT_SECONDS)
        except (httpx.HTTPError, OSError) as error:
            return f"{type(error).__name__}: {error}"
        return None if response.is_success else f"it answered {response.status_code}: {response.text[:200]}"
