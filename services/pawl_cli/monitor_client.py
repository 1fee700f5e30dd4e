"""The monitor's JSON API, as far as the command line asks it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from pawl_cli.api_keys import shown
from pawl_shared.errors import PawlError

# A browser does not send it across sites, so that no page can make a monitor copy its database again and again.
BACKUP_HEADER = {"X-Pawl-Backup": "1"}


class MonitorError(PawlError):
    """The monitor does not answer, or answers that it does not know."""


class MonitorClient:
    """Questions to one monitor."""

    def __init__(self, url: str, key: str = "") -> None:
        """`key`: an API key; empty: none is asked for."""
        self.url = url.rstrip("/")
        self._headers = shown(key)

    def trigger(self, model: str) -> dict[str, Any]:
        """Whether a retraining run is due, with every reason. Raises MonitorError."""
        return self._get("/api/trigger", model=model)

    def reviews(self, model: str) -> list[dict[str, Any]]:
        """Reviews, the latest first. Raises MonitorError."""
        found: list[dict[str, Any]] = self._json("/api/reviews", model=model)
        return found

    def review(self, review: str) -> dict[str, Any]:
        """One review with its answers. Raises MonitorError."""
        return self._get(f"/api/reviews/{review}")

    def alarms(self, model: str) -> list[dict[str, Any]]:
        """Alarms with their explanation, the latest first. Raises MonitorError."""
        found: list[dict[str, Any]] = self._json("/api/alarms", model=model)
        return found

    def usable(self, model: str, heldout_share: float) -> list[list[str]]:
        """[time, what it counts as] of all feedback that a run could use. Raises MonitorError."""
        found = self._get("/api/usable", model=model, heldout_share=str(heldout_share))
        entries: list[list[str]] = found["feedback"]
        return entries

    def interaction(self, inference_id: str) -> dict[str, Any]:
        """One answer with its feedback and lineage. Raises MonitorError, also when it is not known (yet)."""
        return self._get(f"/api/interactions/{inference_id}")

    def offsets(self) -> dict[str, dict[str, int]]:
        """By topic and partition, the next offset that the monitor would read. Raises MonitorError."""
        return self._get("/api/offsets")

    def copy_database(self, target: Path, progress: Callable[[float], None]) -> dict[str, dict[str, int]]:
        """Write a copy of the monitor's database, and answer the offsets up to which it knows. Raises MonitorError."""
        try:
            headers = BACKUP_HEADER | self._headers
            with httpx.stream("POST", f"{self.url}/api/backup", headers=headers, timeout=600) as response:
                if response.status_code != 200:
                    response.read()
                    raise MonitorError(f"the monitor made no copy ({response.status_code}): {response.text[:300]}")
                size, done = int(response.headers["content-length"]), 0
                with target.open("wb") as file:
                    for piece in response.iter_bytes(1 << 20):
                        file.write(piece)
                        done += len(piece)
                        progress(done / size)
        except httpx.HTTPError as error:
            raise MonitorError(f"the monitor at {self.url} did not send its database whole ({error}): again") from error
        if done != size:
            raise MonitorError(f"the monitor sent {done} of {size} bytes: try again")
        offsets: dict[str, dict[str, int]] = json.loads(response.headers["x-pawl-offsets"])
        return offsets

    def _get(self, path: str, **parameters: str) -> dict[str, Any]:
        found: dict[str, Any] = self._json(path, **parameters)
        return found

    def _json(self, path: str, **parameters: str) -> Any:
        try:
            response = httpx.get(f"{self.url}{path}", params=parameters, headers=self._headers, timeout=10)
        except httpx.HTTPError as error:
            raise MonitorError(
                f"the monitor does not answer at {self.url} ({error}): is it running? Apart from `pawl up`, "
                "PAWL_MONITOR_URL says where"
            ) from error
        if response.status_code == 404:
            raise MonitorError(f"the monitor knows nothing at {path}: check the id; a new answer takes a few seconds")
        if response.status_code in (401, 403):
            raise MonitorError(f"the monitor wants another API key ({response.status_code}): give it in PAWL_API_KEY")
        if response.status_code != 200:
            raise MonitorError(f"the monitor answered {response.status_code} to {path}: {response.text[:300]}")
        return response.json()
