"""The artifact store: what comes out of it is what its name says, or nothing does."""

import hashlib
import json
from pathlib import Path

import pytest

from pawl_shared.artifacts import ArtifactStore
from pawl_shared.errors import ArtifactCorruptError, ArtifactError, ArtifactNotFoundError

OUTSIDE = ("../secret", "..", "/etc/hosts", "", "A" * 64, "a" * 63)


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(f"file://{tmp_path / 'store'}", tmp_path / "cache")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def kept(tmp_path: Path, digest: str) -> Path:
    return tmp_path / "store" / "sha256" / digest[:2] / digest


def test_a_file_is_named_by_its_content_and_comes_back_read_only(store: ArtifactStore, tmp_path: Path) -> None:
    digest = store.put_bytes(b"weights")
    assert (digest, store.put_bytes(b"weights"), store.exists(digest)) == (sha256(b"weights"), digest, True)
    path = store.fetch_file(digest)
    assert (path.read_bytes(), path.stat().st_mode & 0o222) == (b"weights", 0)
    assert [each.name for each in kept(tmp_path, digest).parent.iterdir()] == [digest], "nothing half written is left"


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


def test_what_was_changed_in_the_store_is_refused_and_leaves_nothing(store: ArtifactStore, tmp_path: Path) -> None:
    digest = store.put_bytes(b"weights")
    kept(tmp_path, digest).chmod(0o600)
    kept(tmp_path, digest).write_bytes(b"other weights")
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


def test_errors_of_a_stores_own_client_are_errors_of_the_artifact(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    class EndpointConnectionError(Exception):
        """As botocore's, which s3fs lets through: no OSError."""

    def away(*_: object, **__: object) -> bool:
        raise EndpointConnectionError("Could not connect to the endpoint URL")

    monkeypatch.setattr(store, "_fs", store._fs.__class__(skip_instance_cache=True))
    monkeypatch.setattr(store._fs, "exists", away)
    for ask in (lambda: store.put_bytes(b"x"), lambda: store.fetch_file(sha256(b"x")), lambda: store.exists("a" * 64)):
        with pytest.raises(ArtifactError, match=r"fails for artifact .* EndpointConnectionError: Could not connect"):
            ask()
