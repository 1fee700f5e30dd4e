"""HTTP: logging in at the console with an API key, and out."""

from __future__ import annotations

from urllib.parse import parse_qs

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from pawl_monitor.api.logins import COOKIE, LIFETIME, Logins
from pawl_monitor.console.pages import Pages
from pawl_shared.access.service import AccessRefusedError
from pawl_shared.web_server import place_of

MAX_BYTES = 8192


def add(app: FastAPI, logins: Logins, pages: Pages) -> None:
    """The routes."""

    @app.get("/login", include_in_schema=False)
    def login_page(next: str = "/") -> Response:
        if not logins.access.required:
            return RedirectResponse(own(next), 303)
        return HTMLResponse(pages.login(own(next)))

    @app.post("/login", include_in_schema=False)
    async def log_in(request: Request) -> Response:
        form = await _form(request)
        target, text = own(form.get("next", "/")), form.get("key", "").strip()
        try:
            key = logins.access.admit_key(text, "ops", place_of(request.scope))
        except AccessRefusedError as error:
            return HTMLResponse(pages.login(target, error.message), error.status)
        answer = RedirectResponse(target, 303)
        if key is not None:
            answer.set_cookie(
                COOKIE,
                logins.cookie(key, text),
                max_age=int(LIFETIME.total_seconds()),
                httponly=True,
                samesite="strict",
                secure=request.url.scheme == "https",
            )
        return answer

    @app.post("/logout", include_in_schema=False)
    def log_out() -> Response:
        answer = RedirectResponse("/login", 303)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer


def own(target: str) -> str:
    """A place at this console; anything that leads elsewhere is its first page."""
    leads_away = not target.startswith("/") or target.startswith("//") or "\\" in target or not target.isprintable()
    return "/" if leads_away else target


async def _form(request: Request) -> dict[str, str]:
    """What a form says; nothing when it is longer than a key and a place can be."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BYTES:
            return {}
    return {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
