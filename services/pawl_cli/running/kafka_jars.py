"""The jars of Apache Kafka: fetched once from Maven repositories, and never run unless their SHA-256 is the pinned one.

    # pin a new version: edit KAFKA first
    python -m pawl_cli.running.kafka_jars > services/pawl_cli/running/kafka_jars.sha256

A jar is downloaded into a temporary folder, checked, and only then moved into the cache, so an interrupted or
tampered download never stands in the cache. One process fills it and the others wait: a jar that is replaced by its
equal has another time, and the JVM would take its classes (kafka_classes) for those of another jar ever after.
"""

import contextlib
import fcntl
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from pawl_shared.errors import PawlError

KAFKA = "org.apache.kafka:kafka_2.13:4.3.0+org.slf4j:slf4j-simple:1.7.36"
PINS = Path(__file__).with_name("kafka_jars.sha256")

# Jars are small and many (46 files, 45 MB): latency, not bandwidth, is what costs.
PARALLEL_DOWNLOADS = 8
PAUSES_SECONDS = (1.0, 3.0, 9.0)  # before a jar is asked for again

Progress = Callable[[int, int], None]


class JarError(PawlError):
    """A jar could not be had, or is not the one that was pinned."""


@dataclass(frozen=True)
class Pin:
    """One line of the pin file: Maven coordinate `group:artifact:version` and the hex SHA-256 of its jar."""

    coordinate: str
    sha256: str

    @property
    def path(self) -> Path:
        """Where the jar lies inside a cache folder, in Maven's own layout."""
        group, artifact, version = self.coordinate.split(":")
        return Path(*group.split("."), artifact, version, f"{artifact}-{version}.jar")


def read_pins(file: Path = PINS) -> tuple[Pin, ...]:
    """The pinned jars, in classpath order. Raises JarError when a line is not `sha256  group:artifact:version`."""
    pins = []
    for number, line in enumerate(file.read_text().splitlines(), 1):
        digest, _, coordinate = line.partition("  ")
        if len(digest) != 64 or coordinate.count(":") != 2:
            raise JarError(f"{file}:{number}: expected `sha256  group:artifact:version`, found {line!r}")
        pins.append(Pin(coordinate, digest))
    return tuple(pins)


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/pawl/jars`, by default `~/.cache/pawl/jars`."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "pawl" / "jars"


def ensure(
    progress: Progress | None = None, cache: Path | None = None, pins: Sequence[Pin] | None = None
) -> list[Path]:
    """Fetch what is missing, check everything, return the classpath.

    `progress(done, total)` is called in this thread after each downloaded jar.
    Raises JarError, naming the jar, when one cannot be downloaded or differs from its pin.
    """
    cache = cache or cache_folder()
    pins = read_pins() if pins is None else pins
    if _missing(pins, cache):
        with alone(cache):
            _fill(_missing(pins, cache), cache, progress)
    for pin in pins:
        check(cache / pin.path, pin)
    return [cache / pin.path for pin in pins]


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One process fills a folder at a time, the others wait here for it."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _missing(pins: Sequence[Pin], cache: Path) -> list[Pin]:
    return [pin for pin in pins if not (cache / pin.path).is_file()]


def _fill(missing: Sequence[Pin], cache: Path, progress: Progress | None) -> None:
    with ThreadPoolExecutor(PARALLEL_DOWNLOADS) as pool:
        fetches = [pool.submit(_download, pin, cache) for pin in missing]
        for done, fetch in enumerate(as_completed(fetches), 1):
            fetch.result()
            if progress:
                progress(done, len(missing))


def check(jar: Path, pin: Pin) -> None:
    """Raises JarError, naming the jar, when its content is not the pinned one."""
    found = sha256(jar)
    if found != pin.sha256:
        raise JarError(
            f"{pin.coordinate}: {jar} is not the jar that Pawl was tested with (SHA-256 {found}, pinned {pin.sha256}). "
            "It will not be run. Delete that file and start again to download it anew; "
            "if that does not help, the Maven repository serves something else."
        )


def sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _download(pin: Pin, cache: Path) -> None:
    target = cache / pin.path
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=cache) as staging:
        jar = _resolve(pin, Path(staging))
        check(jar, pin)
        jar.replace(target)


def _resolve(pin: Pin, staging: Path) -> Path:
    """Ask again when it fails: names were seen not to be resolved for some seconds while nine jars were asked for."""
    group, artifact, *_, version = pin.coordinate.split(":")
    for pause in (*PAUSES_SECONDS, None):
        try:
            return Path(_context(staging).project(group, artifact).at_version(version).artifact().resolve())
        except Exception as error:  # jgo raises whatever requests, its parser or the file system raised
            if pause is None:
                raise JarError(
                    f"{pin.coordinate}: could not be downloaded from a Maven repository ({error}). Check the network, "
                    "or name a mirror under [repositories] in ~/.config/jgo.conf, "
                    "or use a cluster of yours with --kafka-bootstrap-servers."
                ) from error
            time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


def _context(repo_cache: Path):  # type: ignore[no-untyped-def]
    # jgo is imported late: it costs 0.3 s, and with a filled cache nobody needs it
    from jgo.config import GlobalSettings
    from jgo.constants import MAVEN_CENTRAL_URL
    from jgo.maven import MavenContext

    mirrors = dict(GlobalSettings.load().repositories)
    return MavenContext(repo_cache=repo_cache, remote_repos={**mirrors, "central": MAVEN_CENTRAL_URL}, timeout=30)


def _pin_lines() -> list[str]:
    import jgo

    return [f"{sha256(a.resolve())}  {a.groupId}:{a.artifactId}:{a.version}" for a in jgo.resolve(KAFKA)]


if __name__ == "__main__":
    sys.stdout.write("\n".join(_pin_lines()) + "\n")
