"""Fixtures that several folders of tests share."""

from collections.abc import Iterator

import pytest
from support.kafka import running_kafka


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """Bootstrap servers of one broker for the whole session. Mark the test with `kafka`; name topics uniquely."""
    with running_kafka() as bootstrap_servers:
        yield bootstrap_servers


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several workers (`make test`) all tests of one broker, and all of one loaded model, share a worker."""
    for item in items:
        for group in ("kafka", "model"):
            if item.get_closest_marker(group):
                item.add_marker(pytest.mark.xdist_group(group))
                break
