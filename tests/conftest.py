"""Fixtures that several folders of tests share."""

import gc
from collections.abc import Iterator

import pytest
from hypothesis import settings
from support.kafka import running_kafka

settings.register_profile("pawl", deadline=None)  # tests do not time anything: a busy machine would fail them
settings.load_profile("pawl")

# What imports make stays to the end: looking through it for garbage again and again took a tenth of the time.
gc.disable()


def pytest_collection_finish() -> None:
    """What is there when the tests begin is never looked through again; what they make themselves is."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """Bootstrap servers of one broker for the whole session. Mark the test with `kafka`; name topics uniquely."""
    with running_kafka() as bootstrap_servers:
        yield bootstrap_servers
