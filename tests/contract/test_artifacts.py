"""One suite for artifact stores, a folder and S3: what comes out is what its name says, or nothing does."""

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import fsspec
import pytest
import s3fs
from support.s3_server import S3Server, needs_s3, s3_server

from pawl_cli.running.ports import any_free
from pawl_shared.artifacts import ArtifactStore
from pawl_shared.errors import ArtifactCorruptError, ArtifactError, ArtifactNotFoundError, ConfigurationError

OUTSIDE = ("../secret", "..", "/etc/hosts", "", "A" * 64, "a" * 63)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as found:
        yield found


@pytest.fixture
def s3(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """The server, as a deployment's environment names it."""
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    yield server
    s3fs.S3FileSystem.clear_instance_cache()  # a test may have named another address


@pytest.fixture(params=["folder", pytest.param("s3", marks=needs_s3)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return f"file://{tmp_path / 'store'}"
    return f"s3://{request.getfixturevalue('s3').bucket()}/pawl"


@pytest.fixture
def store(url: str, tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(url, tmp_path / "cache")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def names(url: str) -> list[str]:
    """What lies in the store, by another client."""
    filesystem, root = fsspec.core.url_to_fs(url, skip_instance_cache=True)
    return sorted(path.removeprefix(f"{root}/") for path in filesystem.find(root))


def test_a_file_is_named_by_its_content_and_comes_back_read_only(store: ArtifactStore, url: str) -> None:
    assert not store.exists(sha256(b"weights"))
    digest = store.put_bytes(b"weights")
    assert (digest, store.put_bytes(b"weights"), store.exists(digest)) == (sha256(b"weights"), digest, True)
    path = store.fetch_file(digest)
    assert (path.read_bytes(), path.stat().st_mode & 0o222) == (b"weights", 0)
    assert names(url) == [f"sha256/{digest[:2]}/{digest}"], "nothing half written is left"


def test_what_one_machine_puts_another_one_gets(store: ArtifactStore, url: str, tmp_path: Path) -> None:
    other, late = ArtifactStore(url, tmp_path / "other"), sha256(b"late")
    assert not other.exists(late), "asked before it is there"
    with pytest.raises(ArtifactNotFoundError):
        other.fetch_file(late)
    assert other.read_bytes(store.put_bytes(b"late")) == b"late"
    large = os.urandom(11 << 20)
    assert other.read_bytes(store.put_bytes(large)) == large


@needs_s3
def test_a_large_file_goes_in_parts_and_few_of_them_are_in_memory(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, part = f"s3://{s3.bucket()}/pawl", 5 << 20  # the least that S3 takes; s3fs has parts of 50 MB
    monkeypatch.setattr("s3fs.core.calculate_chunksize", lambda size, **_: part)
    store, other = ArtifactStore(url, tmp_path / "cache"), ArtifactStore(url, tmp_path / "other")
    monkeypatch.setattr(store._fs, "default_block_size", part)
    call, running, most, calls = store._fs._call_s3, 0, 0, []

    async def counted(method: str, *arguments: Any, **named: Any) -> Any:
        nonlocal running, most
        calls.append(method)
        running += 1
        most = max(most, running)
        try:
            return await call(method, *arguments, **named)
        finally:
            running -= 1

    monkeypatch.setattr(store._fs, "_call_s3", counted)
    large = os.urandom(4 * part + 7)
    assert other.read_bytes(store.put_bytes(large)) == large
    assert (calls.count("upload_part"), calls.count("get_object")) == (5, 1 + 5)
    assert most == 2
    assert len(names(url)) == 1


def test_what_could_not_be_put_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder; S3 itself shows a file whole or not at all."""
    url = f"file://{tmp_path / 'store'}"
    store = ArtifactStore(url, tmp_path / "cache")

    def full(source: str, target: str) -> None:
        Path(target).write_bytes(Path(source).read_bytes()[:3])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(store._fs, "put_file", full)
        with pytest.raises(OSError, match="No space"):
            store.put_bytes(b"weights")
    assert names(url) == []
    assert store.read_bytes(store.put_bytes(b"weights")) == b"weights"


def test_a_folder_comes_back_as_it_was(store: ArtifactStore, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "deep" / "er").mkdir(parents=True)
    (source / "graph.onnx").write_bytes(b"graph")
    (source / "deep" / "er" / "card.md").write_text("card")
    folder = store.fetch_folder(store.put_folder(source))
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found == {"graph.onnx": b"graph", "deep/er/card.md": b"card"}
    with pytest.raises(ArtifactError, match="no files"):
        store.put_folder(tmp_path / "cache" / "folders" / "none")


def test_what_was_changed_in_the_store_is_refused_and_leaves_nothing(store: ArtifactStore) -> None:
    digest = store.put_bytes(b"weights")
    store._fs.pipe_file(store._path(digest), b"other weights")
    for _ in range(2):
        with pytest.raises(ArtifactCorruptError, match="delete it"):
            store.fetch_file(digest)


def test_what_is_not_there_is_told(store: ArtifactStore) -> None:
    with pytest.raises(ArtifactNotFoundError):
        store.fetch_folder("0" * 64)


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_name_that_is_no_digest_opens_nothing(store: ArtifactStore, tmp_path: Path, name: str) -> None:
    for folder in ("files", "folders"):
        (tmp_path / "cache" / folder).mkdir(exist_ok=True)
    (tmp_path / "cache" / "secret").write_text("key")
    for fetch in (store.fetch_file, store.fetch_folder, store.read_bytes, store.exists):
        with pytest.raises(ArtifactError, match="no SHA-256"):
            fetch(name)


@pytest.mark.parametrize(
    "manifest",
    [
        {"../escaped": sha256(b"x")}, {"/tmp/escaped": sha256(b"x")}, {"a/../../b": sha256(b"x")},
        {"a": "../../secret"}, {"a": 7}, ["a"], "a",
    ],
)  # fmt: skip
def test_a_folder_that_names_something_outside_itself_is_refused(
    store: ArtifactStore, tmp_path: Path, manifest: object
) -> None:
    store.put_bytes(b"x")
    (tmp_path / "secret").write_text("key")
    digest = store.put_bytes(json.dumps(manifest).encode())
    with pytest.raises(ArtifactError):
        store.fetch_folder(digest)
    assert not (tmp_path / "cache" / "folders" / digest).exists()
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(("escaped", "b"))]


def test_a_file_is_no_folder(store: ArtifactStore) -> None:
    with pytest.raises(ArtifactError, match="not a folder"):
        store.fetch_folder(store.put_bytes(b"\x00 weights"))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("s4://bucket/pawl", "Protocol not known: s4"),
        ("s3://", "no bucket or folder"),
        ("gs://bucket/pawl", "gcsfs"),  # not installed
    ],
)
def test_a_url_that_names_no_store_is_a_setting_that_is_wrong(url: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"PAWL_ARTIFACT_URL.*{reason}|{reason}.*PAWL_ARTIFACT_URL"):
        ArtifactStore(url, tmp_path / "cache")


@needs_s3
def test_a_store_that_is_away_or_refuses_is_an_error_of_the_artifact(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = ArtifactStore("s3://no-such-bucket/pawl", tmp_path / "cache")
    with pytest.raises(ArtifactError, match=r"no-such-bucket/pawl fails for artifact .* bucket does not exist"):
        missing.put_bytes(b"x")
    with pytest.raises(ArtifactNotFoundError, match=r"no-such-bucket.*PAWL_ARTIFACT_URL"):
        missing.fetch_file(sha256(b"x"))

    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{any_free()}")
    s3fs.S3FileSystem.clear_instance_cache()
    away = ArtifactStore("s3://bucket/pawl", tmp_path / "cache")
    for ask in (lambda: away.put_bytes(b"x"), lambda: away.fetch_file(sha256(b"x")), lambda: away.exists("a" * 64)):
        with pytest.raises(ArtifactError, match=r"bucket/pawl fails for artifact .* EndpointConnectionError: "):
            ask()


class Waiting(threading.Event):
    """Whoever waits for it has the store come back, the first time; nobody's time passes."""

    def __init__(self, comes_back: Callable[[], object], *, cancelled: bool = False) -> None:
        super().__init__()
        self._comes_back, self._cancelled, self.waits = comes_back, cancelled, list[float]()

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout or 0)
        if len(self.waits) == 2:
            self._comes_back()
        return self._cancelled


@needs_s3
def test_work_that_took_long_waits_for_a_store_that_is_away(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = any_free()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    s3fs.S3FileSystem.clear_instance_cache()
    store = ArtifactStore("s3://models/pawl", tmp_path / "cache")
    cancelled = Waiting(lambda: None, cancelled=True)
    with pytest.raises(ArtifactError, match="EndpointConnectionError"):
        store.patient(cancelled).put_bytes(b"adapter")
    assert cancelled.waits == [1.0]
    with ExitStack() as until_the_end:

        def comes_back() -> None:
            until_the_end.enter_context(s3_server(tmp_path, port))
            s3fs.S3FileSystem(skip_instance_cache=True).mkdir("models")

        waiting = Waiting(comes_back)
        digest = store.patient(waiting).put_bytes(b"adapter")
        assert (waiting.waits, store.exists(digest)) == ([1.0, 2.0], True)
        for ask, asked in ((store.exists, ".."), (store.fetch_file, sha256(b"never put"))):
            with pytest.raises(ArtifactError):
                getattr(store.patient(waiting), ask.__name__)(asked)
        missing = ArtifactStore("s3://no-such-bucket/pawl", tmp_path / "cache").patient(waiting)
        with pytest.raises(ArtifactError, match="bucket does not exist"):
            missing.put_bytes(b"adapter")
        assert len(waiting.waits) == 2, "what waiting does not change is not waited for"
