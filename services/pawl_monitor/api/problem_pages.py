"""HTTP: what went wrong, as a page for people and as JSON for programs."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.exception_handlers import http_exception_handler, request_validation_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException

from pawl_monitor.api.gate import holder_of
from pawl_monitor.console.pages import Pages


def add(app: FastAPI, pages: Pages) -> None:
    """The handlers: a link in a chat may lead to an alarm or a model that is not there (any more)."""

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException), "it is registered for these"
        if not _is_page(request):
            return await http_exception_handler(request, error)
        page = pages.problem(error.status_code, str(error.detail), holder_of(request))
        return HTMLResponse(page, error.status_code, error.headers)

    async def unread(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError), "it is registered for these"
        if not _is_page(request):
            return await request_validation_exception_handler(request, error)
        return HTMLResponse(pages.problem(404, f"{request.url.path} leads nowhere.", holder_of(request)), 404)

    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(RequestValidationError, unread)


def _is_page(request: Request) -> bool:
    return not request.url.path.startswith("/api/") and "text/html" in request.headers.get("accept", "")
