"""The note of a running Pawl: who runs it, and where it listens."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from pawl_shared.errors import PawlError


class NoRightError(PawlError):
    """A data folder is somebody else's."""


@dataclass(frozen=True)
class RunningNote:
    """What other commands need to find a running Pawl; stands in DATA/running.json while it runs."""

    pid: int
    kafka: str = ""
    urls: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)  # PAWL_* settings that its services have
    api_keys: str = ""  # the file of API keys that they were given

    def artifacts(self, folder: Path) -> str:
        """The URL of its artifact store. `folder`: its data folder; notes of earlier versions name no store."""
        return self.environment.get("PAWL_ARTIFACT_URL", f"file://{folder / 'artifacts'}")


def read_note(folder: Path) -> RunningNote | None:
    """The note of the Pawl that runs in this folder, or None when there is none or it is damaged.

    Raises NoRightError.
    """
    try:
        return RunningNote(**json.loads((folder / "running.json").read_text()))
    except PermissionError as error:
        raise NoRightError(
            f"you may not read {folder}, so nobody can say whether Pawl runs there: ask as the user who started it"
        ) from error
    except (OSError, ValueError, TypeError):
        return None
