"""Who may look at the console and its API, and who may change something: by an API key in a header, or a login."""

from __future__ import annotations

from urllib.parse import quote

from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pawl_monitor.api.login_routes import own
from pawl_monitor.api.logins import COOKIE, Logins
from pawl_monitor.console.pages import Pages
from pawl_monitor.own_hosts import READING
from pawl_shared.access.api_keys import ApiKey
from pawl_shared.access.api_keys import Scope as KeyScope
from pawl_shared.access.service import AccessRefusedError
from pawl_shared.web_server import place_of

OPEN = frozenset({"/healthz", "/readyz", "/login", "/logout"})
FEED = "/events"


class Gate:
    """ASGI middleware: looking needs the scope ops, anything else admin. The key is then the request's state `key`."""

    def __init__(self, app: ASGIApp, logins: Logins, pages: Pages) -> None:
        self._app, self._logins, self._pages = app, logins, pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN or scope["path"].startswith("/static/"):
            await self._app(scope, receive, send)
            return
        asked = HTTPConnection(scope)
        try:
            asked.state.key = self._admit(asked)
        except AccessRefusedError as error:
            await self._refusal(asked, error)(scope, receive, send)
            return
        await self._app(scope, receive, self._while_admitted(asked, send) if scope["path"] == FEED else send)

    def _admit(self, asked: HTTPConnection) -> ApiKey | None:
        place = place_of(asked.scope)
        need: KeyScope = "ops" if asked.scope["method"] in READING else "admin"
        access, cookie = self._logins.access, asked.cookies.get(COOKIE)
        key = self._logins.holder(cookie, place) if cookie and "authorization" not in asked.headers else None
        if key is None:
            return access.admit(asked.headers.get("authorization"), need, place)
        access.need(key, need, place)
        return key

    def _refusal(self, asked: HTTPConnection, error: AccessRefusedError) -> Response:
        is_page = asked.scope["method"] == "GET" and "text/html" in asked.headers.get("accept", "")
        if not is_page:
            return JSONResponse(error.body(), error.status, dict(error.headers))
        target = asked.url.path + (f"?{asked.url.query}" if asked.url.query else "")
        if error.status != 401:
            return HTMLResponse(self._pages.login(target, error.message), error.status)
        if asked.headers.get("sec-fetch-site") == "cross-site" and COOKIE not in asked.cookies:
            # A strict cookie does not come along with a link in a mail or a chat. Asked for once more, by a page of
            # ours, it does, if there is one.
            return HTMLResponse(self._pages.again(own(target)))
        return RedirectResponse(f"/login?next={quote(target, safe='')}", 303)

    def _while_admitted(self, asked: HTTPConnection, send: Send) -> Send:
        """The feed has no end of its own: it ends with the right to see it."""
        over = False

        async def sending(message: Message) -> None:
            nonlocal over
            if over:
                return
            try:
                self._admit(asked)
            except AccessRefusedError:
                over = True
                message = {"type": "http.response.body", "body": b"", "more_body": False}
            await send(message)

        return sending


def holder_of(asked: HTTPConnection) -> str:
    """The name of the key with which somebody asks; empty: keys are not asked for."""
    key: ApiKey | None = getattr(asked.state, "key", None)  # what is open to all sets none
    return key.name if key else ""
