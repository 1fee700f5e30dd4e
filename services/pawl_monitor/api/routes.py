"""HTTP: the JSON API, the live feed, probes, metrics, and the console's pages."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Set
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from fastapi import FastAPI, Header, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from pawl_monitor.api import alarm_routes, login_routes, problem_pages
from pawl_monitor.api.gate import Gate, holder_of
from pawl_monitor.api.live import Feed, Frames
from pawl_monitor.api.logins import Logins
from pawl_monitor.console.pages import STATIC, Pages
from pawl_monitor.handlers.reviewing import Reviewing
from pawl_monitor.own_hosts import OwnHosts
from pawl_monitor.storage import backup
from pawl_monitor.storage.as_of import MomentError, moment_of
from pawl_monitor.views.alarm_gather import AlarmGather
from pawl_monitor.views.alarms import Alarm
from pawl_monitor.views.charts import Chart
from pawl_monitor.views.gather import Gather
from pawl_monitor.views.lineage import Lineage
from pawl_monitor.views.overview import Overview
from pawl_monitor.views.reviews import Review
from pawl_monitor.views.runs import Run
from pawl_monitor.views.usage import usage_of
from pawl_monitor.views.versions import Version
from pawl_shared.clock import Clock
from pawl_shared.errors import KeysUnreadableError
from pawl_shared.service import Health
from pawl_shared.topics import INTERACTIONS

# Nothing but our own files: no inline script or style, no frames, no other host.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer, with which browsers name no origin for the forms of these pages either.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}

Model = Annotated[str, Query(description="tenant/route, e.g. default/assistant; empty: the first one")]
Fact = dict[str, Any]


def create(
    gather: Gather,
    alarms: AlarmGather,
    lineage: Lineage,
    reviewing: Reviewing,
    pages: Pages,
    logins: Logins,
    health: Health,
    clock: Clock,
    folder: Path,
    hosts: Set[str],
) -> FastAPI:
    """The application. `app.state.feed` is its live feed, to be closed before the server stops.

    `folder` is where copies of the database lie while they are sent; `hosts` are the console's names.
    """
    app = FastAPI(title="Pawl monitor", docs_url=None, redoc_url=None, openapi_url="/api/openapi.json")
    app.state.feed = Feed(lambda model: render(gather, pages, clock, model))
    app.add_middleware(Gate, logins=logins, pages=pages)
    app.add_middleware(OwnHosts, names=hosts)
    app.middleware("http")(_secure)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    _add_probes(app, health, gather, logins)
    login_routes.add(app, logins, pages)
    _add_console(app, gather, pages, clock)
    _add_state(app, gather, clock)
    _add_loop(app, gather, clock)
    _add_reviews(app, gather, alarms)
    alarm_routes.add(app, alarms, reviewing, pages)
    _add_lineage(app, gather, lineage)
    _add_backup(app, gather, folder)
    problem_pages.add(app, pages)
    return app


def render(gather: Gather, pages: Pages, clock: Clock, model: str) -> Frames:
    """The fragments of a model's page now."""
    return pages.fragments(gather.overview(model, clock.now()))


async def _secure(request: Request, following: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await following(request)
    response.headers.update(HEADERS)
    return response


def _add_probes(app: FastAPI, health: Health, gather: Gather, logins: Logins) -> None:
    # Both in the web server's own thread: the others' 40 may all wait for a store or the database.
    @app.get("/healthz", include_in_schema=False)
    async def alive() -> PlainTextResponse:
        return PlainTextResponse("alive\n")

    @app.get("/readyz", include_in_schema=False)
    async def ready(authorization: Annotated[str | None, Header()] = None) -> PlainTextResponse:
        told = health.told(logins.access.tells(authorization))
        return PlainTextResponse(f"{told}\n", 200 if health.ready else 503)

    @app.get("/metrics", include_in_schema=False)
    def exposition() -> Response:
        gather.measure()
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def _add_console(app: FastAPI, gather: Gather, pages: Pages, clock: Clock) -> None:
    @app.get("/", include_in_schema=False)
    def overview_page(request: Request, model: Model = "") -> HTMLResponse:
        models, holder = gather.reader.models.shown(), holder_of(request)
        if not models.names:
            return HTMLResponse(pages.empty(holder))
        return HTMLResponse(pages.overview(gather.overview(_chosen(gather, model), clock.now()), models, holder))

    @app.get("/events", include_in_schema=False)
    def events(model: str) -> StreamingResponse:
        feed: Feed = app.state.feed
        return StreamingResponse(
            feed.events(_chosen(gather, model)), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
        )


def _add_state(app: FastAPI, gather: Gather, clock: Clock) -> None:
    """What is stored, and how it is liked: now, over time, and at an earlier moment."""

    @app.get("/api/models", summary="Models and how they are served; of what is not deployed, the 50 asked most")
    def models() -> list[Fact]:
        deployments = {name: gather.deployments(name) for name in gather.reader.models.shown().names}
        return [{"model": n, "deployment": found[0]["value"] if found else None} for n, found in deployments.items()]

    @app.get("/api/counts", summary="Answers, feedback and sessions that are stored")
    def counts(model: Model = "") -> Fact:
        return gather.counts(_chosen(gather, model), clock.now())

    @app.get("/api/overview", summary="The state of one model's loop")
    def overview(model: Model = "") -> Overview:
        return gather.overview(_chosen(gather, model), clock.now())

    @app.get("/api/approval", summary="Approval over time, with what happened")
    def approval(model: Model = "") -> Chart:
        name = _chosen(gather, model)
        return gather.chart(name, gather.alarms(name))

    @app.get("/api/usage", summary="Answers, feedback and latency by hour, version and arm")
    def usage(model: Model = "", days: Annotated[float, Query(gt=0, le=36500)] = 7) -> list[Fact]:
        return usage_of(gather.reader.usage(_chosen(gather, model), clock.now() - timedelta(days=days)))

    @app.get("/api/as-of", summary="What was known at a time, or up to offsets of pawl.interactions; neither: now")
    def as_of(model: Model = "", time: str = "", offsets: str = "") -> Fact:
        try:
            moment = moment_of(time, offsets)
        except MomentError as error:
            raise HTTPException(422, str(error)) from error
        return {
            "offsets": moment if isinstance(moment, dict) else gather.reader.offsets(INTERACTIONS.name),
            "time": time or None,
            "versions": gather.reader.summary(_chosen(gather, model), moment),
        }

    @app.get("/api/offsets", summary="By topic and partition: the next offset to read")
    def offsets() -> Fact:
        with gather.reader.cursors.one() as cursor:
            return backup.offsets_of(cursor)


def _add_loop(app: FastAPI, gather: Gather, clock: Clock) -> None:
    """From an alarm to a deployment."""

    @app.get("/api/alarms", summary="Alarms with their explanation, the latest first")
    def alarms(model: Model = "") -> list[Alarm]:
        return gather.alarms(_chosen(gather, model))

    @app.get("/api/trigger", summary="Whether a retraining run is due, with every reason; and what watches the model")
    def trigger(model: Model = "") -> Fact:
        name = _chosen(gather, model)
        watched = gather.reader.watched(name)
        decision, usable = gather.trigger(name, clock.now(), watched)
        found = {"fire": decision.fire, "sentence": decision.sentence, "reasons": decision.reasons, "usable": usable}
        return {**found, "detectors": gather.detectors(watched)}

    @app.get("/api/usable", summary="When feedback was given that a run could use, and as what it counts")
    def usable(model: Model = "", heldout_share: Annotated[float, Query(gt=0, lt=1)] = 0.25) -> Fact:
        try:
            return {"feedback": gather.usable(_chosen(gather, model), clock.now(), heldout_share)}
        except KeysUnreadableError as error:
            raise HTTPException(503, str(error)) from error

    @app.get("/api/runs", summary="Training runs, the latest first")
    def runs(model: Model = "") -> list[Run]:
        return gather.runs(_chosen(gather, model))

    @app.get("/api/deployments", summary="Deployments, the latest first")
    def deployments(model: Model = "") -> list[Fact]:
        return [
            {"id": row["event_id"], "time": row["time"], **row["value"]}
            for row in gather.deployments(_chosen(gather, model))
        ]

    @app.get("/api/versions", summary="Versions: registration, stages, live figures; the latest that moved first")
    def versions(model: Model = "") -> list[Version]:
        return gather.versions(_chosen(gather, model))

    @app.get("/api/datasets", summary="Data sets that were frozen, the latest first")
    def datasets(model: Model = "") -> list[Fact]:
        found = gather.runs(_chosen(gather, model))
        return [run.model_dump(include={"dataset", "counts", "run", "alarm", "requested"}) for run in found]


def _add_reviews(app: FastAPI, gather: Gather, alarms: AlarmGather) -> None:
    @app.get("/api/reviews", summary="Reviews, the latest first: how far they are, and what they say")
    def reviews(model: Model = "") -> list[Review]:
        return alarms.reviews(_chosen(gather, model))


def _add_lineage(app: FastAPI, gather: Gather, lineage: Lineage) -> None:
    """One thing, and where it came from."""

    @app.get("/api/datasets/{digest}", summary="One data set: manifest, feedback ids, a few rows")
    def dataset(digest: str) -> Fact:
        found = lineage.dataset(digest)
        if "problem" in found:
            raise HTTPException(404, found["problem"])
        return found

    @app.get("/api/interactions/{inference_id}", summary="One answer with its feedback and lineage")
    def interaction(inference_id: UUID) -> Fact:
        found = lineage.explain(str(inference_id))
        if found is None:
            raise HTTPException(404, "no such answer (yet): it is known a few seconds after it was given")
        return found

    @app.get("/api/versions/{version}/card", summary="A version's model card with its live figures, as Markdown")
    def card(version: str, model: Model = "") -> PlainTextResponse:
        found = lineage.card(_chosen(gather, model), version)
        if found is None:
            raise HTTPException(404, "no such version, or it has no card")
        return PlainTextResponse(found)

    @app.get("/api/dead-letters", summary="What could not be read or handled, the latest first")
    def dead_letters() -> list[Fact]:
        return gather.reader.dead_letters()


def _add_backup(app: FastAPI, gather: Gather, folder: Path) -> None:
    @app.post("/api/backup", summary="A copy of the database; its offsets are in the header X-Pawl-Offsets")
    def copy_database(x_pawl_backup: Annotated[str, Header(description="must be 1")] = "") -> StreamingResponse:
        if x_pawl_backup != "1":
            raise HTTPException(403, "send the header X-Pawl-Backup: 1, as `pawl backup` does")
        resources = ExitStack()
        cursor = resources.enter_context(gather.reader.cursors.one())
        path, offsets = resources.enter_context(backup.copied(cursor, folder))
        file = resources.enter_context(path.open("rb"))

        def pieces() -> Iterator[bytes]:
            with resources:
                while piece := file.read(1 << 20):
                    yield piece

        headers = {"Content-Length": str(path.stat().st_size), "X-Pawl-Offsets": json.dumps(offsets)}
        return StreamingResponse(pieces(), media_type="application/octet-stream", headers=headers)


def _chosen(gather: Gather, model: str) -> str:
    """This one, or the first. Raises a 404 that names the models there are."""
    models = gather.reader.models.shown()
    if not model and models.names:
        return models.names[0]
    if model not in models.names and not gather.reader.models.knows(model):
        there = str(models) or "none yet: they appear when the validator has registered one"
        raise HTTPException(404, f"no model {model!r}; there are: {there}")
    return model
