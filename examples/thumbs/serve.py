"""The chat's server: asks Pawl with a key that the page never sees, and hands the page the answer's feedback token.

    python examples/thumbs/serve.py --pawl http://127.0.0.1:8000

Standard library only. Feedback passes through as well, so that the page needs no other origin; a page that posts to
Pawl itself sets the widget's `server`, and Pawl's PAWL_FEEDBACK_ORIGINS.
"""

from __future__ import annotations

import argparse
import json
import os
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

HERE = Path(__file__).parent
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/pawl-thumbs.js": ("pawl-thumbs.js", "text/javascript; charset=utf-8"),
}
MAX_BODY = 1 << 20


class Server(ThreadingHTTPServer):
    """Knows where Pawl is, and the key for it."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], pawl: str, model: str, api_key: str = "") -> None:
        super().__init__(address, Handler)
        self.pawl, self.model, self.api_key = pawl.rstrip("/"), model, api_key


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        name, kind = FILES.get(self.path, ("", ""))
        if name:
            self._answer(200, (HERE / name).read_bytes(), kind)
        else:
            self._answer(404, b"not found", "text/plain")

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if length > MAX_BODY:
            return self._answer(413, b"{}")
        body = self.rfile.read(length)
        if self.path == "/chat":
            return self._chat(json.loads(body))
        if self.path == "/v1/feedback":
            key = self.headers.get("Idempotency-Key")
            return self._answer(*self._ask("/v1/feedback", body, {"Idempotency-Key": key} if key else {}))
        return self._answer(404, b"{}")

    def _chat(self, asked: dict[str, Any]) -> None:
        request = {
            "model": self._server.model,
            "messages": asked["messages"],
            "metadata": {"session_id": asked["session"]},
            "max_completion_tokens": 200,
        }
        status, content = self._ask("/v1/chat/completions", json.dumps(request).encode(), {})
        if status == 200:
            answer = json.loads(content)
            told = {
                "id": answer["id"],
                "token": answer["metadata"]["feedback_token"],
                "text": answer["choices"][0]["message"]["content"],
            }
            content = json.dumps(told).encode()
        self._answer(status, content)

    @property
    def _server(self) -> Server:
        return cast(Server, self.server)

    def _ask(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json", **headers}
        if self._server.api_key:
            headers["Authorization"] = f"Bearer {self._server.api_key}"
        request = urllib.request.Request(self._server.pawl + path, body, headers)  # noqa: S310 - the operator's address
        try:
            with urllib.request.urlopen(request, timeout=120) as response:  # noqa: S310
                return int(response.status), response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError as error:
            return 503, json.dumps({"error": {"message": f"Pawl is away: {error}"}}).encode()

    def _answer(self, status: int, content: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def main() -> None:
    parser = argparse.ArgumentParser(description="A chat with thumbs against Pawl.")
    parser.add_argument("--pawl", default="http://127.0.0.1:8000", help="Pawl's address")
    parser.add_argument("--model", default="assistant", help="the model to ask")
    parser.add_argument("--port", type=int, default=8090, help="port of the page")
    given = parser.parse_args()
    try:
        server = Server(("127.0.0.1", given.port), given.pawl, given.model, os.environ.get("PAWL_API_KEY", ""))
    except OSError as error:
        parser.error(f"port {given.port} cannot be used ({error.strerror}): choose another one with --port")
    print(f"http://127.0.0.1:{given.port}/")  # noqa: T201
    server.serve_forever()


if __name__ == "__main__":
    main()
