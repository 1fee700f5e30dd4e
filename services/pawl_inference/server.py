"""The running service: its threads, its HTTP server, and an orderly end."""

from __future__ import annotations

import threading

from fastapi import FastAPI

from pawl_inference.api.intake import Intake
from pawl_inference.handlers.answering import AnswerHandler
from pawl_inference.handlers.feedback import FeedbackHandler
from pawl_inference.heap import HeapKeeper
from pawl_inference.record.forwarder import Forwarder
from pawl_inference.record.journal import Journal
from pawl_inference.settings import InferenceSettings
from pawl_inference.versions.follower import DeploymentFollower
from pawl_inference.versions.reports import Reports
from pawl_inference.versions.residency import Residency
from pawl_inference.versions.routing import RouteTable
from pawl_shared.running.collector import settled
from pawl_shared.sealed.key_topic import KeyFollower
from pawl_shared.service import Health, listen
from pawl_shared.web_server import serve


class InferenceService:
    """Everything that runs: `asgi` for tests, `start` and `stop` for its threads, `run` for both and a server."""

    def __init__(
        self,
        settings: InferenceSettings,
        *,
        asgi: FastAPI,
        answers: AnswerHandler,
        routes: RouteTable,
        health: Health,
        journal: Journal,
        forwarder: Forwarder,
        key_follower: KeyFollower,
        follower: DeploymentFollower,
        feedback: FeedbackHandler,
        reports: Reports,
        residency: Residency,
    ) -> None:
        self._settings = settings
        self.asgi = asgi
        self._intake = Intake(asgi)
        self.answers = answers
        self.routes = routes
        self.health = health
        self.journal = journal
        self._forwarder = forwarder
        self._key_follower = key_follower
        self._follower = follower
        self._feedback = feedback
        self._reports = reports
        self._residency = residency
        self._heap = HeapKeeper()

    def start(self) -> None:
        """Follow keys and deployments, forward the journal, and give back what was freed."""
        self._heap.start()
        self._key_follower.start()
        self._forwarder.start()
        self._follower.start()
        self.health.clear("start")

    def stop(self) -> None:
        """No new deployments; the journal is sent as far as the broker takes it, and the rest is kept."""
        self.health.wait_for("stop", "the service is stopping")
        self._heap.stop()
        self._residency.close()
        self._follower.stop()
        self._key_follower.stop()
        self._forwarder.stop()
        self._feedback.close()
        self._reports.close()
        self.journal.close()

    def _take_no_more(self) -> None:
        self.health.wait_for("stop", "the service is stopping")
        self._intake.close()

    def _cut(self) -> None:
        self._intake.cut()
        self._follower.cut()

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop` is set; then finish what has begun, for as long as it may take, and log all of it.

        Raises:
            ConfigurationError: the port is taken.
        """
        listener = listen(self._settings)
        with settled():  # first: an engine that is replaced later must be found
            self.start()
            try:
                serve(
                    self._intake,
                    listener,
                    stop.is_set,
                    grace=self._settings.shutdown_grace_seconds,
                    ending=self._take_no_more,
                    drained=lambda: self._intake.idle,
                    cut=self._cut,
                )
            finally:
                self.stop()
