"""The monitor's JSON API, as far as the command line asks it."""

from typing import Any

import httpx

from pawl_shared.errors import PawlError


class MonitorError(PawlError):
    """The monitor does not answer, or answers that it does not know."""


class MonitorClient:
    """Read-only questions to one monitor."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def trigger(self, model: str) -> dict[str, Any]:
        """Whether a retraining run is due, with every reason. Raises MonitorError."""
        return self._get("/api/trigger", model=model)

    def interaction(self, inference_id: str) -> dict[str, Any]:
        """One answer with its feedback and lineage. Raises MonitorError, also when it is not known (yet)."""
        return self._get(f"/api/interactions/{inference_id}")

    def _get(self, path: str, **parameters: str) -> dict[str, Any]:
        try:
            response = httpx.get(f"{self.url}{path}", params=parameters, timeout=10)
        except httpx.HTTPError as error:
            raise MonitorError(f"the monitor does not answer at {self.url} ({error}): is `pawl up` running?") from error
        if response.status_code == 404:
            raise MonitorError(f"the monitor knows nothing at {path}: check the id; a new answer takes a few seconds")
        if response.status_code != 200:
            raise MonitorError(f"the monitor answered {response.status_code} to {path}: {response.text[:300]}")
        found: dict[str, Any] = response.json()
        return found
