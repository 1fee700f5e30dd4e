"""Fixtures that several folders of tests share."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from httpx._config import DEFAULT_TIMEOUT_CONFIG
from hypothesis import settings
from support.kafka import running_kafka

settings.register_profile("pawl", deadline=None)  # tests do not time anything: a busy machine would fail them
settings.load_profile("pawl")

# Seconds for each step of a request that names no time: 5 are not much where all cores are busy.
for step in ("connect", "read", "write", "pool"):
    setattr(DEFAULT_TIMEOUT_CONFIG, step, 60.0)

# What imports make stays to the end: looking through it for garbage again and again took a tenth of the time.
gc.disable()

# Workers take module after module in this order: what takes minutes must not begin last.
TURNS = {"e2e": 0, "faults": 1, "integration": 2, "contract": 3, "unit": 4}
TESTS = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: TURNS.get(item.path.relative_to(TESTS).parts[0], 0))


def pytest_collection_finish() -> None:
    """What is there when the tests begin is never looked through again; what they make themselves is."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """Bootstrap servers of one broker for the whole session. Mark the test with `kafka`; name topics uniquely."""
    with running_kafka() as bootstrap_servers:
        yield bootstrap_servers
