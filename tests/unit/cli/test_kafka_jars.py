"""A jar runs only when it is byte for byte the one that was pinned."""

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pawl_cli.running import kafka_jars
from pawl_cli.running.kafka_jars import JarError, Pin


def cached(cache: Path, coordinate: str, content: bytes, pinned: bytes) -> Pin:
    pin = Pin(coordinate, hashlib.sha256(pinned).hexdigest())
    (cache / pin.path).parent.mkdir(parents=True)
    (cache / pin.path).write_bytes(content)
    return pin


def test_the_classpath_keeps_the_order_of_the_pins(tmp_path: Path) -> None:
    pins = [cached(tmp_path, f"org.x:{name}:1", b"jar", b"jar") for name in ("b", "a")]
    assert [jar.name for jar in kafka_jars.ensure(cache=tmp_path, pins=pins)] == ["b-1.jar", "a-1.jar"]


def test_a_tampered_jar_is_refused_by_name(tmp_path: Path) -> None:
    good = cached(tmp_path, "org.x:good:1", b"jar", b"jar")
    tampered = cached(tmp_path, "org.x:tampered:2.0", b"jar with a surprise", b"jar")
    with pytest.raises(JarError, match=r"org\.x:tampered:2\.0.*will not be run"):
        kafka_jars.ensure(cache=tmp_path, pins=[good, tampered])


def test_a_downloaded_jar_that_differs_never_reaches_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = tmp_path / "repository"
    wrong = cached(repository, "org.x:wrong:1", b"something else", b"jar")
    monkeypatch.setattr(kafka_jars, "_context", lambda _staging: local_context(repository))
    cache = tmp_path / "cache"
    with pytest.raises(JarError, match=r"org\.x:wrong:1"):
        kafka_jars.ensure(cache=cache, pins=[wrong])
    assert not list(cache.rglob("*.jar"))


def test_a_repository_that_fails_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = tmp_path / "repository"
    pin = cached(repository, "org.x:jar:1", b"jar", b"jar")
    asked: list[Path] = []

    def context(staging: Path) -> object:
        asked.append(staging)
        if len(asked) < 3:
            raise OSError("temporary failure in name resolution")
        return local_context(repository)

    monkeypatch.setattr(kafka_jars, "_context", context)
    monkeypatch.setattr(kafka_jars, "PAUSES_SECONDS", (0.0, 0.0))
    (jar,) = kafka_jars.ensure(cache=tmp_path / "cache", pins=[pin])
    assert (jar.read_bytes(), len(asked)) == (b"jar", 3)
    asked.clear()
    monkeypatch.setattr(kafka_jars, "PAUSES_SECONDS", (0.0,))
    with pytest.raises(JarError, match="name resolution"):
        kafka_jars.ensure(cache=tmp_path / "other", pins=[pin])
    assert len(asked) == 2


def test_of_two_that_fill_the_cache_one_waits_and_replaces_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository, cache = tmp_path / "repository", tmp_path / "cache"
    pin = cached(repository, "org.x:jar:1", b"jar", b"jar")
    asked, fetches = threading.Event(), threading.Event()
    times = list[int]()

    def context(staging: Path) -> object:
        asked.set()
        assert fetches.wait(30)
        return local_context(repository)

    def ensure() -> None:
        (jar,) = kafka_jars.ensure(cache=cache, pins=[pin])
        times.append(jar.stat().st_mtime_ns)

    monkeypatch.setattr(kafka_jars, "_context", context)
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(ensure)]
        assert asked.wait(30)
        asked.clear()
        both.append(pool.submit(ensure))
        assert not asked.wait(0.3)
        fetches.set()
        for each in both:
            each.result(30)
    assert times[0] == times[1]
    assert not asked.is_set(), "nothing was downloaded again"


def local_context(repository: Path) -> object:
    from jgo.maven import MavenContext

    return MavenContext(repo_cache=repository, offline=True)


def test_the_committed_pins_are_readable_and_complete() -> None:
    pins = kafka_jars.read_pins()
    names = {pin.coordinate.rpartition(":")[0] for pin in pins}
    assert len(names) == len(pins)
    assert set(kafka_jars.KAFKA.split("+")) <= {pin.coordinate for pin in pins}


def test_a_damaged_pin_file_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "pins"
    file.write_text("abc org.x:y:1\n")
    with pytest.raises(JarError, match=r"pins:1: expected"):
        kafka_jars.read_pins(file)
