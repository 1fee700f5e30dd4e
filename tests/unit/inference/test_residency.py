"""Versions that are loaded again: what becomes of a load that nobody waits for any more."""

import asyncio
import gc
import threading
from typing import Any

import pytest
from support.fake_engine import FakeEngine

from pawl_inference.errors import ApiError
from pawl_inference.versions import residency
from pawl_inference.versions.residency import NotLoadedError, Residency
from pawl_shared.errors import ArtifactError
from pawl_shared.events import DeployedVersion


class Slow:
    """Artifacts that are lost, which takes a while to find out."""

    def __init__(self) -> None:
        self.answer = threading.Event()

    def fetch_file(self, digest: str) -> Any:
        self.answer.wait(30)
        raise ArtifactError(f"{digest[:3]} is gone")

    fetch_folder = fetch_file


def test_a_load_that_fails_after_all_have_left_is_no_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residency, "PATIENCE_SECONDS", 0.01)
    artifacts, reported = Slow(), list[dict[str, Any]]()
    loads = Residency(artifacts)
    served = DeployedVersion(version="a" * 64, base="b" * 64, graph="c" * 64, slot_file="d" * 64)
    missing = NotLoadedError(FakeEngine("b" * 64, "c" * 64), served)  # type: ignore[arg-type]  # its engine is not met

    async def scenario() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        for _ in range(2):
            with pytest.raises(ApiError, match="still being loaded"):
                await loads.load(missing)
        ending = asyncio.wrap_future(loads._loading["a" * 64])
        artifacts.answer.set()
        with pytest.raises(ArtifactError):
            await ending
        gc.collect()

    asyncio.run(scenario())
    loads.close()
    assert reported == []
