"""The running service: its threads, its HTTP server, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from types import FrameType

import uvicorn
from fastapi import FastAPI

from pawl_inference.chat import ChatHandler
from pawl_inference.feedback import FeedbackHandler
from pawl_inference.follower import DeploymentFollower
from pawl_inference.forwarder import Forwarder
from pawl_inference.journal import Journal
from pawl_inference.reports import Reports
from pawl_inference.routing import RouteTable
from pawl_inference.settings import InferenceSettings
from pawl_shared import logging
from pawl_shared.key_topic import KeyFollower
from pawl_shared.service import Health

log = logging.get(__name__)
# How long the answers in flight may take at shutdown before they are cut.
GRACE_SECONDS = 10


class InferenceService:
    """Everything that runs: `asgi` for tests, `start` and `stop` for its threads, `run` for both and a server."""

    def __init__(
        self,
        settings: InferenceSettings,
        *,
        asgi: FastAPI,
        chat: ChatHandler,
        routes: RouteTable,
        health: Health,
        journal: Journal,
        forwarder: Forwarder,
        key_follower: KeyFollower,
        follower: DeploymentFollower,
        feedback: FeedbackHandler,
        reports: Reports,
    ) -> None:
        self._settings = settings
        self.asgi = asgi
        self.chat = chat
        self.routes = routes
        self.health = health
        self.journal = journal
        self._forwarder = forwarder
        self._key_follower = key_follower
        self._follower = follower
        self._feedback = feedback
        self._reports = reports

    def start(self) -> None:
        """Follow keys and deployments, and forward the journal."""
        self._key_follower.start()
        self._forwarder.start()
        self._follower.start()
        self.health.clear("start")

    def stop(self) -> None:
        """No new deployments; the journal is sent as far as the broker takes it, and the rest is kept."""
        self.health.wait_for("stop", "the service is stopping")
        self._follower.stop()
        self._key_follower.stop()
        self._forwarder.stop()
        self._feedback.close()
        self._reports.close()
        self.journal.close()

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop` is set."""
        self.start()
        try:
            asyncio.run(self._serve(stop))
        finally:
            self.stop()

    async def _serve(self, stop: threading.Event) -> None:
        config = uvicorn.Config(
            self.asgi,
            host=self._settings.http_host,
            port=self._settings.http_port,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        server = _Server(config)
        serving = asyncio.create_task(server.serve())
        while not stop.is_set() and not serving.done():
            await asyncio.sleep(0.1)
        server.should_exit = True
        await serving


class _Server(uvicorn.Server):
    """Signals belong to run_service: uvicorn would take them over, and raise them again when it has ended."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.should_exit = True
