"""A content-addressed store over fsspec: what is in it is named by the SHA-256 of its content, and verified on read.

Files are kept under `sha256/ab/abcdef…`; a folder is the digest of a manifest, a JSON object from relative path to file
digest. Nothing is ever overwritten, nothing is pickled, and a reader gets local read-only copies from a cache.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from uuid import uuid4

import fsspec

from pawl_shared import logging
from pawl_shared.errors import ArtifactCorruptError, ArtifactError, ArtifactNotFoundError, ConfigurationError

# What is put there is there whole or not at all, and folders are a part of its name.
OBJECT_STORES = frozenset({"s3", "gs", "gcs", "az", "abfs"})
# How much of a file is in memory on its way: two parts, of 16 MB when it is fetched (50 MB when it is put). With ten of
# 50 MB, as s3fs has it, a graph of 300 MB cost the serving process, that should need 1 GB, 430 MB more.
S3_OPTIONS = {"max_concurrency": 2, "default_block_size": 16 << 20}

# How long a patient store is asked again, and what asking again would not change: a right or a bucket that is missing.
AWAY_SECONDS = 600.0
LONGEST_PAUSE_SECONDS = 30.0
FINAL = (PermissionError, FileNotFoundError)
T = TypeVar("T")
log = logging.get("pawl.artifacts")


def digest_of_file(path: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class ArtifactStore:
    """Put and fetch by digest. `local`: it is a folder, so that nothing has to be waited for.

    Args:
        url: any fsspec URL (file://, s3://, gs://).
        cache: a local folder for the copies.

    Raises:
        ConfigurationError: the URL names no store, or one whose package is not installed.
    """

    def __init__(self, url: str, cache: Path) -> None:
        self._fs, self._root = _opened(url)
        protocol = self._fs.protocol
        protocols = {protocol} if isinstance(protocol, str) else set(protocol)
        self.local = "file" in protocols
        self._objects = bool(protocols & OBJECT_STORES)
        self._cache = cache
        self._cancelled: threading.Event | None = None
        cache.mkdir(parents=True, exist_ok=True)

    def patient(self, cancelled: threading.Event) -> ArtifactStore:
        """This store for work that took long and must not be lost: while it is away it is asked again, for up to
        AWAY_SECONDS or until the work is cancelled."""
        found = copy.copy(self)
        found._cancelled = cancelled
        return found

    def put_file(self, path: Path) -> str:
        """Store a file; answers its digest. Storing the same content again does nothing.

        Raises ArtifactError, OSError: the store cannot be reached or written.
        """
        digest = digest_of_file(path)
        self._ask(digest, lambda: self._put(path, self._path(digest)))
        return digest

    def _put(self, path: Path, target: str) -> None:
        if self._fs.exists(target):
            return
        if self._objects:
            self._fs.put_file(str(path), target)
        else:
            self._put_and_move(path, target)

    def _put_and_move(self, path: Path, target: str) -> None:
        """Written under another name first: a reader never sees half a file."""
        self._fs.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
        part = f"{target}.{uuid4().hex}.part"
        try:
            self._fs.put_file(str(path), part)
            self._fs.mv(part, target)
        except BaseException:
            with suppress(Exception):  # a disk that is full has its space back
                self._fs.rm_file(part)
            raise

    def put_bytes(self, content: bytes) -> str:
        """Store some bytes; answers their digest."""
        with tempfile.TemporaryDirectory(dir=self._cache) as folder:
            path = Path(folder) / "content"
            path.write_bytes(content)
            return self.put_file(path)

    def put_folder(self, folder: Path) -> str:
        """Store every file below a folder; answers the digest of its manifest."""
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        if not files:
            raise ArtifactError(f"{folder} has no files")
        manifest = {path.relative_to(folder).as_posix(): self.put_file(path) for path in files}
        return self.put_bytes(json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode())

    def fetch_file(self, digest: str) -> Path:
        """A local, verified, read-only copy.

        Raises:
            ArtifactNotFoundError: there is none.
            ArtifactCorruptError: the store's content is not what its name says.
            ArtifactError: the name is no digest, or (OSError, too) the store cannot be reached.
        """
        path = self._cache / "files" / _checked(digest)
        if path.exists():
            return path
        path.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._cache) as folder:
            part = Path(folder) / "content"
            self._ask(digest, lambda: self._copy(digest, part))
            if (found := digest_of_file(part)) != digest:
                raise ArtifactCorruptError(
                    f"artifact {digest[:12]} has the content of {found[:12]}: delete it in the store"
                )
            part.chmod(0o444)
            part.replace(path)
        return path

    def fetch_folder(self, digest: str) -> Path:
        """A local, verified copy of a folder. Files are hard links into the cache where the file system can."""
        target = self._cache / "folders" / _checked(digest)
        if target.exists():
            return target
        manifest = self._manifest(digest)
        target.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._cache) as parent:
            folder = Path(parent) / "folder"
            for name, file_digest in manifest.items():
                if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                    raise ArtifactError(f"artifact {digest[:12]} names a path outside itself: {name!r}")
                destination = folder / name
                destination.parent.mkdir(parents=True, exist_ok=True)
                _link_or_copy(self.fetch_file(file_digest), destination)
            try:
                folder.rename(target)
            except OSError:  # another process was quicker; its copy is as good
                if not target.exists():
                    raise
        return target

    def read_bytes(self, digest: str) -> bytes:
        """A small artifact's content."""
        return self.fetch_file(digest).read_bytes()

    def exists(self, digest: str) -> bool:
        """Whether the store has it. Raises ArtifactError, OSError: it cannot be reached."""
        return self._ask(digest, lambda: bool(self._fs.exists(self._path(digest))))

    def _manifest(self, digest: str) -> dict[str, str]:
        try:
            manifest = json.loads(self.fetch_file(digest).read_bytes())
        except ValueError:  # of an adapter, say: neither JSON nor text
            manifest = None
        if not isinstance(manifest, dict):
            raise ArtifactError(f"artifact {digest[:12]} is a file, not a folder")
        return manifest

    def _path(self, digest: str) -> str:
        return f"{self._root}/sha256/{_checked(digest)[:2]}/{digest}"

    def _copy(self, digest: str, part: Path) -> None:
        source = self._path(digest)
        if not self._fs.exists(source):
            raise ArtifactNotFoundError(
                f"no artifact {digest[:12]} in {self._root}; is PAWL_ARTIFACT_URL the same for all services?"
            )
        if self.local:
            _link_or_copy(Path(source), part)
        else:
            self._fs.get_file(source, str(part))

    def _ask(self, digest: str, work: Callable[[], T]) -> T:
        """Do it, and again where somebody is patient and the store away."""
        give_up, pause = time.monotonic() + AWAY_SECONDS, 1.0
        while True:
            try:
                with self._named(digest):
                    return work()
            except ArtifactError as error:
                away = error.__cause__ is not None and not isinstance(error.__cause__, FINAL)
                if not away or self._cancelled is None or time.monotonic() > give_up:
                    raise
                log.warning("the artifact store is away; it is asked again", reason=str(error), seconds=pause)
                if self._cancelled.wait(pause):
                    raise
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    @contextmanager
    def _named(self, digest: str) -> Iterator[None]:
        """Clients of stores have errors of their own: botocore's, which s3fs lets through, are no OSError, and what it
        makes an OSError says "Forbidden", not of what. A folder's errors name the file."""
        try:
            yield
        except ArtifactError:
            raise
        except Exception as error:
            if self.local and isinstance(error, OSError):
                raise
            reason = f"{type(error).__name__}: {error}"
            raise ArtifactError(f"the store {self._root} fails for artifact {digest[:12]}: {reason}") from error


def _opened(url: str) -> tuple[Any, str]:
    """The file system, and the store's place in it."""
    try:
        filesystem, root = fsspec.core.url_to_fs(url, **(S3_OPTIONS if url.startswith(("s3://", "s3a://")) else {}))
    except (ImportError, ValueError) as error:  # "Install s3fs to access S3"; "Protocol not known"
        raise ConfigurationError(f"the artifact store {url!r} cannot be opened (PAWL_ARTIFACT_URL): {error}") from error
    place = str(root).rstrip("/")
    if not place:
        raise ConfigurationError(f"the artifact store {url!r} has no bucket or folder: set PAWL_ARTIFACT_URL")
    return filesystem, place


def _checked(digest: str) -> str:
    """The digest. Raises ArtifactError: it is none, and might be a way to another place."""
    if not isinstance(digest, str) or len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
        raise ArtifactError(f"{str(digest)[:80]!r} is no SHA-256 in hex")
    return digest


def _link_or_copy(source: Path, destination: Path) -> None:
    """A hard link saves 540 MB a copy of the default base model; ONNX Runtime refuses symbolic links to its data."""
    try:
        os.link(source, destination)
    except OSError:
        shutil.copyfile(source, destination)
