"""A tiny OpenAI-like server that answers at once: what the crowd meets in tests."""

import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LONG = "It is a thing that many people like. " * 6
SHORT = "It is nice."


class FakeOpenAI:
    """Remembers what it was asked and told; `refuse` requests are answered 503 first."""

    def __init__(self, answer: str, refuse: int) -> None:
        self.answer, self.refuse = answer, refuse
        self.asked: list[dict[str, Any]] = []
        self.told: list[dict[str, Any]] = []
        self.lock = threading.Lock()
        self.url = ""

    def reply(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        with self.lock:
            if self.refuse > 0:
                self.refuse -= 1
                return 503, {"error": {"message": "busy", "type": "server_error"}}
            if path == "/v1/feedback":
                self.told.extend(body["events"])
                return 202, {"accepted": len(body["events"])}
            self.asked.append(body)
            return 200, self._completion()

    def _completion(self) -> dict[str, Any]:
        identity = str(uuid.uuid4())
        message = {"role": "assistant", "content": self.answer}
        return {
            "id": identity, "object": "chat.completion", "created": 0, "model": "m", "system_fingerprint": "0" * 64,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "metadata": {"feedback_token": f"token-{identity}", "arm": "champion"},
        }  # fmt: skip


@contextmanager
def fake_openai(answer: str = LONG, refuse: int = 0) -> Iterator[FakeOpenAI]:
    fake = FakeOpenAI(answer, refuse)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, body = fake.reply(self.path, json.loads(self.rfile.read(int(self.headers["content-length"]))))
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
