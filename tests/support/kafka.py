"""A broker for tests: the one named by PAWL_TEST_KAFKA when it is set, else an embedded one in a temporary folder.

pawl kafka --data /tmp/k &    # then: PAWL_TEST_KAFKA=127.0.0.1:PORT pytest -m kafka   (saves 3 s a run)
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pawl_cli.running.embedded_kafka import EmbeddedKafka, answers
from pawl_shared.buses.kafka_settings import KafkaSettings

REUSE = "PAWL_TEST_KAFKA"


@contextmanager
def running_kafka() -> Iterator[str]:
    """Yields bootstrap servers. A reused broker keeps its topics, so tests name theirs uniquely."""
    reused = os.environ.get(REUSE)
    if reused:
        if not answers(KafkaSettings(kafka_bootstrap_servers=reused)):
            raise RuntimeError(f"{REUSE}={reused}, but no Kafka answers there; unset it or start one: pawl kafka")
        yield reused
        return
    with tempfile.TemporaryDirectory(prefix="pawl-kafka-") as folder, EmbeddedKafka(Path(folder)) as broker:
        yield broker.bootstrap_servers
