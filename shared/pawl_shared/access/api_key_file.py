"""The file of API keys: hashes only, written by `pawl keys`, read by every service again when it has changed.

A file, because what decides who may speak to a service must not need Kafka, and because replicas share one by what they
have already: a folder, or a secret that a cluster mounts (docs/adr/0022-api-keys.md).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from pawl_shared.access.api_keys import ApiKey, ApiKeys
from pawl_shared.errors import ApiKeysUnreadableError


def load(path: Path) -> ApiKeys:
    """What the file holds; no keys where there is none. Raises ApiKeysUnreadableError."""
    try:
        return ApiKeys.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return ApiKeys()
    except OSError as error:
        raise ApiKeysUnreadableError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise ApiKeysUnreadableError(f"{path} is no file of API keys: {place}: {first['msg']}") from error


def save(path: Path, content: ApiKeys) -> None:
    """Write it whole or not at all, for its owner alone. Raises OSError."""
    write_private(path, json.dumps(content.model_dump(mode="json", exclude_none=True), indent=2) + "\n")


def write_private(path: Path, text: str) -> None:
    """A file that only its owner may read, whole or not at all, and on the disk when this returns. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = path.with_name(f"{path.name}.{os.getpid()}.new")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


class KeyFile:
    """The keys as they are now. Every question looks at the file's stamp, which takes 2 µs: what was revoked opens
    nothing from the next request on, in every process that has the file."""

    def __init__(self, path: Path, required: bool = False) -> None:
        """`required`: keys are asked for even where no file was ever seen."""
        self.path = path
        self._required = required
        self._known: tuple[tuple[int, int, int], Mapping[str, ApiKey]] | None = None

    def keys(self) -> Mapping[str, ApiKey] | None:
        """By id; None: there is no file and never was one, so keys are not asked for.

        Raises ApiKeysUnreadableError: the file is damaged, or gone. It must not let everybody in, nor those of before.
        """
        known = self._known
        try:
            found = self.path.stat()
        except FileNotFoundError as error:
            if not self._required:
                return None
            raise ApiKeysUnreadableError(f"{self.path} is gone: put it back, or restart to be without keys") from error
        except OSError as error:
            raise ApiKeysUnreadableError(f"{self.path} cannot be read: {error.strerror}") from error
        self._required = True
        stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
        if known is None or known[0] != stamp:
            known = self._known = (stamp, load(self.path).by_id())
        return known[1]
