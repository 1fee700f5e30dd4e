"""A broker whose deployments are a test's own."""

from collections.abc import Iterator

import pytest

from pawl_cli.running.embedded_kafka import EmbeddedKafka


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap servers. On a shared one a service is not ready before it serves what other tests deployed there,
    out of folders that are gone."""
    with EmbeddedKafka(tmp_path_factory.mktemp("kafka")) as kafka:
        yield kafka.bootstrap_servers
