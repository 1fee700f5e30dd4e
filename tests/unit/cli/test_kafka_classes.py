"""What a JVM has learned of Kafka's classes is made once, and a broker starts without it too."""

from pathlib import Path

import pytest

from pawl_cli.running import kafka_classes
from pawl_shared.errors import PawlError


class Trainer:
    """Writes what a JVM would write."""

    def __init__(self) -> None:
        self.folders: list[Path] = []

    def __call__(self, folder: Path, option: str) -> None:
        self.folders.append(folder)
        Path(option.removeprefix("-XX:AOTCacheOutput=")).write_text("classes")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "pawl" / "classes"


def test_they_are_made_once_for_a_classpath(cache: Path) -> None:
    train = Trainer()
    options = kafka_classes.options(["-Xmx160m"], "a.jar", train)
    assert Path(options[0].removeprefix("-XX:AOTCache=")).read_text() == "classes"
    assert kafka_classes.options(["-Xmx160m"], "a.jar", train) == options
    assert len(train.folders) == 1
    assert not train.folders[0].parent.exists()


def test_those_of_other_jars_or_options_are_others(cache: Path) -> None:
    train = Trainer()
    made = [kafka_classes.options(*which, train) for which in (([], "a.jar"), ([], "b.jar"), (["-Xmx2m"], "a.jar"))]
    assert len(set(made)) == len(train.folders) == 3


def nothing_learned(folder: Path, option: str) -> None:
    """A JVM that was killed before it wrote."""


def no_start(folder: Path, option: str) -> None:
    raise PawlError("Kafka did not answer")


@pytest.mark.parametrize("train", [nothing_learned, no_start])
def test_where_they_cannot_be_made_a_broker_starts_without(cache: Path, train: kafka_classes.Train) -> None:
    assert kafka_classes.options([], "a.jar", train) == ()
    assert list(cache.iterdir()) == [cache / "lock"]
    assert kafka_classes.options([], "a.jar", Trainer()) != ()


def test_a_cache_that_cannot_be_written_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert kafka_classes.options([], "a.jar", Trainer()) == ()
