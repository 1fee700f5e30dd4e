"""The service around Faust: how it ends when Faust cannot begin."""

import asyncio
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka.errors import KafkaConnectionError  # type: ignore[import-untyped]
from support.told import Told

from pawl_cli.running.ports import any_free
from pawl_shared.buses.memory_bus import MemoryBus
from pawl_shared.errors import BusError
from pawl_shared.metrics import Lags
from pawl_shared.service import Health
from pawl_streams import app
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


class Ending(Unreached):
    """A Faust app that has begun, and ends when somebody has left."""

    should_stop = False

    def __init__(self) -> None:
        self.consumer = SimpleNamespace(behind=lambda: 0)
        self.left: list[int] = []

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        while not self.left:
            await asyncio.sleep(0)


def test_a_service_that_is_stopped_ends_also_where_no_broker_answers_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told()
    monkeypatch.setattr(app, "log", told)
    monkeypatch.setattr(app, "STOP_SECONDS", 0.05)
    settings, nothing, ending, stop = StreamsSettings(data_dir=tmp_path), cast(Any, Follower()), Ending(), Event()
    parts = (MemoryBus(), nothing, nothing, Health(SERVICE), Lags(SERVICE), settings)
    stop.set()
    StreamsService(lambda: ending, *parts, leave=ending.left.append).run(stop)
    assert ending.left == [0]
    assert ["does a broker answer?" in line["event"] for line in told.lines] == [True]


def test_a_broker_that_faust_cannot_reach_is_an_error_in_words(tmp_path: Path) -> None:
    settings = StreamsSettings(data_dir=tmp_path, http_port=any_free())
    nothing = cast(Any, Follower())
    service = StreamsService(Unreached, MemoryBus(), nothing, nothing, Health(SERVICE), Lags(SERVICE), settings)
    with pytest.raises(BusError, match=r"Faust cannot begin: .*broker"):
        service.run(Event())
