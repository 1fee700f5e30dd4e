"""The thread that reads pawl.deployments from its beginning, without a group, and reports what was applied."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from pawl_inference.settings import SERVICE
from pawl_inference.versions.deployments import RETRY_SECONDS, Deployments
from pawl_inference.versions.reports import Reports
from pawl_shared import codec, logging, metrics
from pawl_shared.buses.port import Bus, Record
from pawl_shared.dead_letter import is_retry
from pawl_shared.errors import BusError, DecodeError
from pawl_shared.events import DeploymentChanged
from pawl_shared.service import Health
from pawl_shared.topics import DEPLOYMENTS

log = logging.get(__name__)
# For a slot, which any answer that ends may free, it looks so often, and so long until newer deployments are heard.
LOOK_SECONDS, LOOKING_SECONDS = 0.02, 0.25
OBSTACLE = "deployment"
WAITING = "waiting for the first deployment on pawl.deployments"
# A replica says so often that it lives, also where nothing has changed. `pawl promote` waits for no one that was silent
# for three times as long.
HEARTBEAT_SECONDS = 20.0


class DeploymentFollower:
    """Ready when it has stood at the topic's end with every model served, or tried in vain: never on an older revision.
    From then on it stays ready while a model's first deployment is loaded, or cannot be."""

    def __init__(
        self,
        bus: Bus,
        deployments: Deployments,
        health: Health,
        reports: Reports,
        behind: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._bus = bus
        self._deployments = deployments
        self._health = health
        self._reports = reports
        self._behind = behind
        self.cut_off_since: float | None = None  # monotonic seconds
        self._stop = threading.Event()
        self._ready = False
        self._told: object = None
        self._told_at = 0.0
        self._thread = threading.Thread(target=self._run, name="deployment-follower", daemon=True)
        health.wait_for(OBSTACLE, WAITING)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Stop reading, and end the engines."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(10)
            if self.cut_off_since is None:
                self._reports.replica(*self._state(), stopped=True)
        self._deployments.close()

    def cut(self) -> None:
        """End the engines; what they are answering ends where it is."""
        self._deployments.close()

    @property
    def cut_off_seconds(self) -> float:
        """For how long no broker has answered."""
        return 0.0 if self.cut_off_since is None else time.monotonic() - self.cut_off_since

    def follow(self, records: Iterable[Record | None]) -> None:
        """None stands for the topic's end; only there is the newest revision known, and applied."""
        for record in records:
            if record is not None:
                self._note(record)
                continue
            self._reached()
            self._apply()
            self._deployments.let_go()
            self._report()

    def _apply(self) -> None:
        give_up = time.monotonic() + LOOKING_SECONDS
        while True:
            self._deployments.apply_pending()
            if not self._deployments.short_of_slots or time.monotonic() > give_up or self._stop.wait(LOOK_SECONDS):
                return

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.follow(self._bus.read(DEPLOYMENTS.name, self._stop.is_set, 0.1, self._behind))
            except BusError as error:
                log.warning("deployments cannot be read; trying again", error=str(error))
                self._cut_off(str(error))
                self._stop.wait(1.0)
            except Exception:
                # Serving goes on with what it has: a replica that no longer listened would never say so.
                log.exception("following deployments failed; it starts again")
                self._stop.wait(RETRY_SECONDS)

    def _note(self, record: Record) -> None:
        if is_retry(record):
            metrics.RETRIES.labels(SERVICE, record.topic).inc()
        try:
            event = codec.decode(record)
        except DecodeError as error:
            self._reports.unreadable(record, str(error))
            return
        metrics.RECORDS.labels(SERVICE, record.topic, "handled").inc()
        if isinstance(event, DeploymentChanged):
            self._deployments.note(event)

    def _report(self) -> None:
        """Readiness, and a ReplicaReported when something has changed."""
        self._ready = self._ready or self._deployments.served
        if self._ready:
            self._health.clear(OBSTACLE)
        else:
            self._health.wait_for(OBSTACLE, "; ".join(self._problems()) or self._waiting())
        now, at = self._state(), time.monotonic()
        if (now != self._told or at - self._told_at > HEARTBEAT_SECONDS) and self._reports.replica(*now):
            self._told, self._told_at = now, at

    def _state(self) -> tuple[dict[str, int], dict[str, str], tuple[str, ...], bool]:
        state = self._deployments
        return state.revisions, state.slots(), self._problems(), self._ready

    def _waiting(self) -> str:
        """A store that does not answer takes minutes to become a problem."""
        coming = "; ".join(f"{each.model}, revision {each.revision}" for each in self._deployments.pending)
        return f"fetching and loading {coming} (the artifact store, then the graph)" if coming else WAITING

    def _problems(self) -> tuple[str, ...]:
        return tuple(f"{model}, {problem}" for model, problem in self._deployments.problems.items())

    # ------------------------------------------------------------ without a broker

    def _cut_off(self, reason: str) -> None:
        """What is served goes on being served; what is decided meanwhile is not known here."""
        if self.cut_off_since is None:
            self.cut_off_since = time.monotonic()
        self._health.warn(
            OBSTACLE, f"cut off from Kafka: answers go on, and newer deployments do not arrive ({reason})"
        )

    def _reached(self) -> None:
        if self.cut_off_since is not None:
            log.info("deployments are followed again", seconds=round(time.monotonic() - self.cut_off_since, 1))
            self.cut_off_since = None
            self._health.warn(OBSTACLE, "")
