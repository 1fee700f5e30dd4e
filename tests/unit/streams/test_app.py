"""The service around Faust: how it ends when Faust cannot begin."""

import threading
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError  # type: ignore[import-untyped]

from pawl_cli.running.ports import any_free
from pawl_shared.buses.memory_bus import MemoryBus
from pawl_shared.errors import BusError
from pawl_shared.metrics import Lags
from pawl_shared.service import Health
from pawl_streams.app import StreamsService
from pawl_streams.settings import SERVICE, StreamsSettings


class Follower:
    """Of keys or policies: knows nothing."""

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass


class Unreached:
    """A Faust app whose client reaches no broker."""

    def finalize(self) -> None:
        pass

    async def start(self) -> None:
        raise KafkaConnectionError("Unable to bootstrap from [('broker', 9093)]")


def test_a_broker_that_faust_cannot_reach_is_an_error_in_words(tmp_path: Path) -> None:
    settings = StreamsSettings(data_dir=tmp_path, http_port=any_free())
    nothing: Any = Follower()
    service = StreamsService(Unreached, MemoryBus(), nothing, nothing, Health(SERVICE), Lags(SERVICE), settings)
    with pytest.raises(BusError, match=r"Faust cannot begin: .*broker"):
        service.run(threading.Event())
