"""The engines of this process, one for each serving graph: opened beside those that serve, and ended when drained."""

from __future__ import annotations

import gc
import math
import threading
import time
from collections.abc import Callable, Iterator, Set
from concurrent.futures import Future
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from pawl_inference import heap
from pawl_inference.engine.port import Engine
from pawl_shared import logging
from pawl_shared.errors import AdapterRejectedError, BaseModelError, PawlError
from pawl_shared.models.graph_spec import TEMPLATE_FILE

log = logging.get(__name__)

# When the last answers of an engine that has ended are sent, and nothing refers to it any more.
COLLECT_SECONDS = 2.0
# Makes an engine of a serving graph's folder and that folder's digest.
EngineFactory = Callable[[Path, str], Engine]


class Artifacts(Protocol):
    """The part of the artifact store that is needed here."""

    @property
    def local(self) -> bool: ...

    def fetch_file(self, digest: str) -> Path: ...

    def fetch_folder(self, digest: str) -> Path: ...


class StillLoadingError(PawlError):
    """A graph or slot file that is being fetched, or opened, in the background; ask again soon."""


@dataclass(frozen=True)
class Host:
    """An engine, and the digest of the chat template that it renders conversations by."""

    engine: Engine
    template_version: str = ""


class Hosts:
    """One thread calls it. A graph takes seconds to open, and gigabytes may have to be fetched before: meanwhile
    other deployments, a rollback among them, are followed."""

    def __init__(self, artifacts: Artifacts, make_engine: EngineFactory) -> None:
        self._artifacts = artifacts
        self._make_engine = make_engine
        self._open: dict[str, Host] = {}
        self._opening: dict[str, Future[Host]] = {}
        self._leaving: dict[str, Host] = {}
        self._collect_at = math.inf

    def of(self, graph: str) -> Host:
        """The engine of a graph.

        Raises:
            StillLoadingError: it is being opened.
            AdapterRejectedError: what was fetched is no serving graph, or gives no finite numbers.
            PawlError, OSError: it cannot be fetched; asked again, it is tried again.
        """
        if graph in self._leaving:  # a rollback: it still has answers to finish
            self._open[graph] = self._leaving.pop(graph)
        if graph not in self._open:
            self._open[graph] = self._opened(graph)
        return self._open[graph]

    def __iter__(self) -> Iterator[Host]:
        return iter(list(self._open.values()))

    def keep(self, graphs: Set[str]) -> None:
        """Let all others go: an engine ends when the requests that it answers have ended, and gives its memory back."""
        for graph in self._open.keys() - graphs:
            self._leaving[graph] = self._open.pop(graph)
        for graph in [each for each, opening in self._opening.items() if each not in graphs and opening.done()]:
            opening = self._opening.pop(graph)
            if opening.exception() is None:
                self._leaving[graph] = opening.result()
        if self._end_drained():
            self._collect_at = time.monotonic() + COLLECT_SECONDS
        elif time.monotonic() >= self._collect_at:
            self._collect_at = math.inf
            _give_memory_back()

    def _end_drained(self) -> bool:
        """Whether any was."""
        drained = [graph for graph, host in self._leaving.items() if host.engine.close_if_idle()]
        for graph in drained:
            log.info("engine ended", base=self._leaving.pop(graph).engine.info.name)
        return bool(drained)

    def close(self) -> None:
        """End all engines; what they still answer is cut. To be called once more does nothing."""
        for host in (*self._open.values(), *self._leaving.values()):
            host.engine.close()

    def _opened(self, graph: str) -> Host:
        if graph not in self._opening:
            opening: Future[Host] = Future()
            self._opening[graph] = opening
            work = threading.Thread(target=self._work, args=(graph, opening), name="pawl-open-graph", daemon=True)
            work.start()
        if not self._opening[graph].done():
            raise StillLoadingError(f"the serving graph {graph[:12]} is being loaded")
        return self._opening.pop(graph).result()

    def _work(self, graph: str, opening: Future[Host]) -> None:
        started = time.monotonic()
        try:
            folder = self._artifacts.fetch_folder(graph)
            template = folder / TEMPLATE_FILE
            template_version = sha256(template.read_bytes()).hexdigest() if template.exists() else ""
            host = Host(self._make_engine(folder, graph), template_version)
        except BaseModelError as error:  # the digest says what is in the folder: it would be the same again
            opening.set_exception(AdapterRejectedError(str(error)))
            return
        except (PawlError, OSError) as error:
            opening.set_exception(error)
            return
        except BaseException as error:  # of the runtime's many kinds, panics among them; else nobody would be told
            log.exception("a serving graph cannot be opened")
            reason = f"the serving graph {graph[:12]} cannot be opened: {error}"
            opening.set_exception(AdapterRejectedError(reason))
            return
        log.info("engine ready", base=host.engine.info.name, seconds=round(time.monotonic() - started, 2))
        opening.set_result(host)


def _give_memory_back() -> None:
    """An engine's parts know each other, so most of a gigabyte would stay until Python looks for such circles by
    itself; and glibc keeps some 200 MB of what the runtime had, in the arena of a thread."""
    gc.collect()
    heap.give_back()
