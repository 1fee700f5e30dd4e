"""Makes the engines serve what deployments say: load the new, then switch, then let the old go."""

from __future__ import annotations

import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from pawl_inference import metrics
from pawl_inference.engine.port import Engine, NoFreeSlotError
from pawl_inference.routing import Route, RouteTable
from pawl_shared import logging
from pawl_shared.errors import AdapterRejectedError, PawlError
from pawl_shared.events import DeployedVersion, DeploymentChanged
from pawl_shared.graph_spec import TEMPLATE_FILE

log = logging.get(__name__)


class Artifacts(Protocol):
    """The part of the artifact store that is needed here."""

    def fetch_file(self, digest: str) -> Path: ...

    def fetch_folder(self, digest: str) -> Path: ...


# Makes an engine of a serving graph's folder and that folder's digest.
EngineFactory = Callable[[Path, str], Engine]


class Deployments:
    """What should be served, what is, and why they differ. One thread calls it; routes are read by all."""

    def __init__(self, artifacts: Artifacts, make_engine: EngineFactory, routes: RouteTable) -> None:
        self._artifacts = artifacts
        self._make_engine = make_engine
        self._routes = routes
        self._wanted: dict[str, DeploymentChanged] = {}
        self._handled: dict[str, int] = {}
        self._engines: dict[str, Engine] = {}
        self._leaving: list[Engine] = []
        self.applied: dict[str, int] = {}
        self.problems: dict[str, str] = {}

    def note(self, deployment: DeploymentChanged) -> None:
        """Remember the newest revision; older ones (a repeat, a late one) change nothing."""
        known = self._wanted.get(deployment.model)
        if known is None or deployment.revision > known.revision:
            self._wanted[deployment.model] = deployment

    @property
    def pending(self) -> list[DeploymentChanged]:
        """Newest revisions that were not tried yet, or failed for a reason that may pass."""
        return [each for each in self._wanted.values() if self._handled.get(each.model, 0) < each.revision]

    @property
    def served(self) -> bool:
        """Whether there is a deployment, and every model that has one is answered."""
        return bool(self._wanted) and self._wanted.keys() <= self._routes.all().keys()

    def slots(self) -> dict[str, str]:
        """The versions that are loaded, numbered; the base comes first."""
        loaded = sorted({(v.slot_file is not None, v.version) for r in self._routes.all().values() for v in r.versions})
        return {str(number): version for number, (_, version) in enumerate(loaded)}

    def apply_pending(self) -> None:
        """Try every pending deployment. What fails leaves the model with what it had, and a problem that says why."""
        for deployment in self.pending:
            try:
                self._apply(deployment)
            except (AdapterRejectedError, NoFreeSlotError) as error:
                self._refused(deployment, error)
            except (PawlError, OSError) as error:
                self.problems[deployment.model] = f"revision {deployment.revision}: {error}"
                metrics.DEPLOYMENTS.labels("failed").inc()
                log.warning("deployment failed; it is tried again", model=deployment.model, reason=str(error))

    def close(self) -> None:
        """End all engines."""
        for engine in (*self._engines.values(), *self._leaving):
            engine.close()

    def _apply(self, deployment: DeploymentChanged) -> None:
        """Load all versions, then switch. A challenger or an arm that is refused does not keep the champion from
        serving; an experiment without one of its arms would compare nothing."""
        engine = self._load(deployment.champion)
        refusal = None
        for tried in _tried(deployment):
            try:
                if self._load(tried) is not engine:
                    raise AdapterRejectedError(
                        f"{tried.version[:12]} was made for another serving graph than the champion"
                    )
            except (AdapterRejectedError, NoFreeSlotError) as error:
                refusal = error
                break
        served = deployment if refusal is None else _champion_alone(deployment)
        self._routes.replace(Route(served, engine, self._template_version(deployment.champion.graph)))
        if refusal is not None:
            raise refusal
        self._handled[deployment.model] = self.applied[deployment.model] = deployment.revision
        self.problems.pop(deployment.model, None)
        metrics.DEPLOYMENTS.labels("applied").inc()
        log.info("deployment applied", model=deployment.model, revision=deployment.revision, change=deployment.change)

    def _refused(self, deployment: DeploymentChanged, error: PawlError) -> None:
        """Trying again would not help."""
        self._handled[deployment.model] = deployment.revision
        self.problems[deployment.model] = f"revision {deployment.revision}: {error}"
        metrics.DEPLOYMENTS.labels("refused").inc()
        log.error("deployment refused", model=deployment.model, revision=deployment.revision, reason=str(error))

    def _load(self, version: DeployedVersion) -> Engine:
        engine = self._engines.get(version.graph)
        if engine is None:
            started = time.monotonic()
            engine = self._make_engine(self._artifacts.fetch_folder(version.graph), version.graph)
            self._engines[version.graph] = engine
            log.info("engine ready", base=engine.info.name, seconds=round(time.monotonic() - started, 2))
        if engine.info.base != version.base or (version.slot_file is None and version.version != version.base):
            raise AdapterRejectedError(
                f"version {version.version[:12]} belongs to base {version.base[:12]} and the graph to "
                f"{engine.info.base[:12]}; validate the adapter again"
            )
        if version.slot_file is not None and version.version not in engine.versions():
            slot_file = self._artifacts.fetch_file(version.slot_file)
            self._make_room(engine)
            engine.publish(version.version, slot_file)
            log.info("version loaded", version=version.version)
        return engine

    def _make_room(self, engine: Engine) -> None:
        """Retire what nothing refers to, as every loaded slot costs memory and time in each step."""
        for version in engine.versions() - self._referred(engine):
            engine.retire(version)

    def _referred(self, engine: Engine) -> set[str]:
        """Versions of routes, and of deployments that are still to come."""
        live = {version.version for route in self._routes.all().values() for version in route.versions}
        coming = {each.version for d in self.pending for each in (d.champion, *_tried(d))}
        return {engine.info.base} | live | coming

    def let_go(self) -> None:
        """Retire versions and graphs that no deployment names any more; requests in flight finish first."""
        used = {route.deployment.champion.graph for route in self._routes.all().values()}
        used |= {deployment.champion.graph for deployment in self.pending}
        for graph in self._engines.keys() - used:
            self._leaving.append(self._engines.pop(graph))
        for engine in self._engines.values():
            self._make_room(engine)
        idle = [engine for engine in self._leaving if engine.stats().active + engine.stats().waiting == 0]
        for engine in idle:
            self._leaving.remove(engine)
            engine.close()

    def _template_version(self, graph: str) -> str:
        template = self._artifacts.fetch_folder(graph) / TEMPLATE_FILE
        return sha256(template.read_bytes()).hexdigest() if template.exists() else ""


def _tried(deployment: DeploymentChanged) -> tuple[DeployedVersion, ...]:
    """What answers beside the champion."""
    arms = deployment.experiment.arms if deployment.experiment else ()
    return tuple(each for each in (deployment.challenger, *(arm.served for arm in arms)) if each)


def _champion_alone(deployment: DeploymentChanged) -> DeploymentChanged:
    """Sessions are then outside of canary and experiment: they say nothing about what they cannot meet."""
    return deployment.model_copy(update={"challenger": None, "canary": None, "share": 0.0, "experiment": None})
