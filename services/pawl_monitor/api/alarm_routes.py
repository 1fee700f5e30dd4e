"""HTTP: one alarm's page, and reviews, which is where the console writes."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import FastAPI, Header, HTTPException, Request
from fastapi.responses import HTMLResponse

from pawl_monitor.api.gate import holder_of
from pawl_monitor.console.pages import Pages
from pawl_monitor.handlers.reviewing import Judgement, Reviewing
from pawl_monitor.views.alarm_gather import AlarmGather, AlarmPage
from pawl_monitor.views.reviews import ReviewPage
from pawl_shared.errors import BusError, KeysUnreadableError

NO_ALARM = "no such alarm (yet): /api/alarms lists them"
NO_REVIEW = "no such review (yet): `pawl review list` names them"


def add(app: FastAPI, gather: AlarmGather, reviewing: Reviewing, pages: Pages) -> None:
    """The routes."""

    @app.get("/alarms/{alarm}", include_in_schema=False)
    def alarm_page(request: Request, alarm: UUID) -> HTMLResponse:
        return HTMLResponse(pages.alarm(_alarm(gather, alarm), holder_of(request)))

    @app.get("/reviews/{review}", include_in_schema=False)
    def review_page(request: Request, review: UUID) -> HTMLResponse:
        return HTMLResponse(pages.review(_review(gather, review), holder_of(request)))

    @app.get("/api/alarms/{alarm}", summary="One alarm with its groups of prompts, deployments near it and evidence")
    def one_alarm(alarm: UUID) -> AlarmPage:
        return _alarm(gather, alarm)

    @app.get("/api/reviews/{review}", summary="One review: its answers and what reviewers said")
    def one_review(review: UUID) -> ReviewPage:
        return _review(gather, review)

    @app.post("/api/reviews/{review}/answers/{inference_id}", status_code=202, summary="Judge one answer of a review")
    def judge(
        request: Request,
        review: UUID,
        inference_id: UUID,
        judgement: Judgement,
        x_pawl_review: Annotated[str, Header(description="must be 1")] = "",
    ) -> dict[str, Any]:
        if x_pawl_review != "1":  # across sites a browser asks first, and own_hosts refuses names that lead here
            raise HTTPException(403, "send the header X-Pawl-Review: 1, as the page of the review does")
        answer = gather.asked(review, inference_id)
        if answer is None:
            raise HTTPException(404, "this review does not ask about this answer, or the answer is not kept any more")
        holder = holder_of(request)
        if holder and "who" not in judgement.model_fields_set:
            judgement = judgement.model_copy(update={"who": holder})
        try:
            return {"ids": reviewing.say(review, answer, judgement)}
        except BusError as error:
            raise HTTPException(503, f"it is not known to be stored ({error}): send it again") from error


def _alarm(gather: AlarmGather, identity: UUID) -> AlarmPage:
    try:
        found = gather.page(identity)
    except KeysUnreadableError as error:
        raise HTTPException(503, f"texts stay sealed: {error}") from error
    if found is None:
        raise HTTPException(404, NO_ALARM)
    return found


def _review(gather: AlarmGather, identity: UUID) -> ReviewPage:
    try:
        found = gather.review(identity)
    except KeysUnreadableError as error:
        raise HTTPException(503, f"texts stay sealed: {error}") from error
    if found is None:
        raise HTTPException(404, NO_REVIEW)
    return found
