"""What every service's __main__ does: settings, logs, signals, health, and an orderly end."""

from __future__ import annotations

import json
import signal
import socket
import socketserver
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol, TypeVar
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app
from pydantic import ValidationError

from pawl_shared import logging, metrics
from pawl_shared.access.service import Access, AccessRefusedError, Place, check_host
from pawl_shared.buses.kafka_settings import problems
from pawl_shared.errors import ConfigurationError, PawlError
from pawl_shared.settings import PawlSettings

P = TypeVar("P", bound=PawlSettings)


@dataclass
class Health:
    """Ready when nothing stands in the way; each obstacle has a name and a reason that says what to do or wait for.
    Warnings are told as well, and stand in nobody's way."""

    service: str
    obstacles: dict[str, str] = field(default_factory=dict)
    warnings: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.wait_for("start", "the service is starting")

    def wait_for(self, name: str, reason: str) -> None:
        """Not ready, for this reason."""
        self.obstacles[name] = reason
        metrics.READY.labels(self.service).set(0)

    def clear(self, name: str) -> None:
        """This no longer stands in the way."""
        self.obstacles.pop(name, None)
        metrics.READY.labels(self.service).set(0 if self.obstacles else 1)

    def warn(self, name: str, reason: str) -> None:
        """The work goes on, but people should know; an empty reason ends it."""
        self.warnings.pop(name, None)
        if reason:
            self.warnings[name] = reason

    @property
    def report(self) -> str:
        """What /readyz says."""
        return "\n".join([*(self.obstacles.values() or ["ready"]), *self.warnings.values()])

    def told(self, whole: bool) -> str:
        """What /readyz says to somebody who may know the reasons, or may not."""
        return self.report if whole else "ready" if self.ready else "not ready: an API key with the scope ops sees why"

    @property
    def ready(self) -> bool:
        """Whether the service can do its work."""
        return not self.obstacles


class Service(Protocol):
    """What app.build() answers."""

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set."""


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Probes are not news."""


class _ThreadingServer(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


def listen(settings: PawlSettings) -> socket.socket:
    """Bound here rather than by the web server, which would end the process without a word to its supervisor.

    Raises:
        ConfigurationError: the port is taken, the address is not this machine's, or others reach it and there are no
            API keys.
    """
    check_host(settings)
    host, port = settings.http_host, settings.http_port
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise _taken(host, port, error) from error
    # asyncio sets it only where the socket names its protocol. Without it each answer in two parts waits 40 ms for the
    # client's acknowledgement of the first; what is accepted here inherits it.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    _tell_place(host, listener.getsockname()[1])
    return listener


def _tell_place(host: str, port: int) -> None:
    """With the port that was given where any was wanted."""
    logging.get("pawl.service").info("listening", host=host, port=port)


def _taken(host: str, port: int, error: OSError) -> ConfigurationError:
    advice = "stop what uses it, or set PAWL_HTTP_PORT"
    return ConfigurationError(f"cannot listen on {host}:{port} ({error.strerror}): {advice}")


def serve_health(health: Health, settings: PawlSettings) -> WSGIServer:
    """/healthz (alive), /readyz (ready, or 503 with reasons) and /metrics, in a thread; for services without an API.

    Where API keys are asked for, /metrics and the reasons need the scope ops.

    Raises:
        ConfigurationError: as listen() does.
    """
    check_host(settings)
    host, port = settings.http_host, settings.http_port
    access, exposition = Access.of(settings, health.service), make_wsgi_app()

    def app(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path, shown = environ["PATH_INFO"], environ.get("HTTP_AUTHORIZATION")
        if path == "/metrics":
            try:
                access.admit(shown, "ops", Place(path, environ.get("REMOTE_ADDR", "")))
            except AccessRefusedError as error:
                status = HTTPStatus(error.status)
                headers = [("Content-Type", "application/json"), *error.headers.items()]
                start(f"{status.value} {status.phrase}", headers)
                return [json.dumps(error.body()).encode()]
            body: Iterable[bytes] = exposition(environ, start)
            return body
        known = {
            "/healthz": (True, "alive"),
            "/readyz": (health.ready, health.told(access.tells(shown))),
        }
        good, text = known.get(path, (False, "see /healthz, /readyz and /metrics"))
        start("200 OK" if good else "503 Service Unavailable", [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{text}\n".encode()]

    try:
        server = make_server(host, port, app, _ThreadingServer, _Quiet)
    except OSError as error:
        raise _taken(host, port, error) from error
    _tell_place(host, server.server_port)
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server


def run_service(name: str, settings_type: Callable[[], P], build: Callable[[P], Service]) -> None:
    """The whole `main` of a service. Exit status: 0 stopped, 1 failed (worth another try), 2 settings wrong."""
    try:
        settings = settings_type()
    except ValidationError as error:
        sys.stderr.writelines(f"{problem}\n" for problem in problems(error))
        sys.exit(2)
    logging.configure(name, settings.log_level)
    log = logging.get(f"pawl.{name}")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        build(settings).run(stop)
    except PawlError as error:
        log.error("stopped", reason=str(error), kind=type(error).__name__)  # noqa: TRY400 - the reason says it all
        sys.exit(1)
    except Exception:
        log.exception("stopped by a bug")
        sys.exit(1)
    log.info("stopped")
