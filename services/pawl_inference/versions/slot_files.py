"""Slot files on their way from the artifact store."""

from __future__ import annotations

import threading
from collections.abc import Set
from concurrent.futures import Future, wait
from pathlib import Path

from pawl_inference.versions.hosts import Artifacts, StillLoadingError

# A few megabytes: what is in the cache is here well within that, and is served without another look.
AT_ONCE_SECONDS = 0.1


class SlotFiles:
    """One thread calls it. S3 that takes connections and does not answer is given up after seven minutes (25 tries of
    15 s each): meanwhile other deployments, a rollback among them, are followed."""

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts
        self._coming: dict[str, Future[Path]] = {}

    def of(self, digest: str) -> Path:
        """A local copy.

        Raises:
            StillLoadingError: it is being fetched.
            PawlError, OSError: it cannot be fetched; asked again, it is tried again.
        """
        if self._artifacts.local:  # a hard link: no thread to begin between two tokens
            return self._artifacts.fetch_file(digest)
        if digest not in self._coming:
            self._coming[digest] = coming = Future[Path]()
            threading.Thread(target=self._work, args=(digest, coming), name="pawl-fetch-slots", daemon=True).start()
            wait([coming], AT_ONCE_SECONDS)
        if not self._coming[digest].done():
            raise StillLoadingError(f"the slot file {digest[:12]} is being fetched")
        return self._coming.pop(digest).result()

    def keep(self, digests: Set[str | None]) -> None:
        """Forget how it ended for all others: who asks for one of them later asks the store as it is then."""
        for digest in [each for each, coming in self._coming.items() if coming.done() and each not in digests]:
            del self._coming[digest]

    def _work(self, digest: str, coming: Future[Path]) -> None:
        try:
            coming.set_result(self._artifacts.fetch_file(digest))
        except BaseException as error:  # else nobody would be told
            coming.set_exception(error)
