"""Which version answers for which model. One table, replaced whole, so that a request sees the old or the new."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pawl_inference.domain import assignment
from pawl_inference.domain.assignment import Assignment, UnknownModelError
from pawl_inference.engine.port import Engine
from pawl_shared.events import DeployedVersion, DeploymentChanged


@dataclass(frozen=True)
class Route:
    """A deployment that is applied: every version in it is loaded in `engine`."""

    deployment: DeploymentChanged
    engine: Engine
    template_version: str = ""

    @property
    def versions(self) -> tuple[DeployedVersion, ...]:
        """What can be asked for: champion, challenger, an experiment's arms and the base, each once."""
        champion, challenger = self.deployment.champion, self.deployment.challenger
        base = champion.model_copy(update={"version": champion.base, "slot_file": None})
        experiment = self.deployment.experiment
        arms = [arm.served for arm in experiment.arms] if experiment else []
        return tuple({each.version: each for each in (base, champion, challenger, *arms) if each}.values())


class RouteTable:
    """Read from any thread without a lock; written by the deployment follower alone."""

    def __init__(self) -> None:
        self._routes: Mapping[str, Route] = MappingProxyType({})

    def all(self) -> Mapping[str, Route]:
        """Every route, by model; never changes after it was handed out."""
        return self._routes

    def replace(self, route: Route) -> None:
        """Point a model at another deployment; a single store, so atomic for readers."""
        self._routes = MappingProxyType({**self._routes, route.deployment.model: route})

    def resolve(self, requested: str, session: str) -> tuple[Route, Assignment]:
        """The route and version for a request. Raises UnknownModelError when nothing of this name is served."""
        name, prefix = assignment.split_pin(requested)
        route = self._routes.get(assignment.model_id(name))
        if route is None:
            raise UnknownModelError("")
        if prefix is None:
            return route, assignment.assign(route.deployment, session)
        return route, assignment.pin(route.deployment, prefix, route.versions)
