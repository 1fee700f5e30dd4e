"""Which version answers for which model. One table, replaced whole, so that a request sees the old or the new."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pawl_inference.domain import assignment
from pawl_inference.domain.assignment import Assignment, ModelLoadingError, UnknownModelError
from pawl_inference.versions.hosts import Host
from pawl_shared.events import DeployedVersion, DeploymentChanged


@dataclass(frozen=True)
class Route:
    """A deployment that is applied: `hosts` has the engine of every version in it, by the version's graph."""

    deployment: DeploymentChanged
    hosts: Mapping[str, Host]

    def host(self, served: DeployedVersion) -> Host:
        """Where one of its versions is answered."""
        return self.hosts[served.graph]

    @property
    def versions(self) -> tuple[DeployedVersion, ...]:
        """What can be asked for: champion, challenger, an experiment's arms and their bases, each once."""
        named = deployed(self.deployment)
        bases = [each.model_copy(update={"version": each.base, "slot_file": None}) for each in named]
        return tuple({each.version: each for each in (*bases, *named) if each.graph in self.hosts}.values())


def deployed(deployment: DeploymentChanged) -> tuple[DeployedVersion, ...]:
    """The champion, and what answers beside it."""
    arms = deployment.experiment.arms if deployment.experiment else ()
    return tuple(each for each in (deployment.champion, deployment.challenger, *(arm.served for arm in arms)) if each)


class RouteTable:
    """Read from any thread without a lock; written by the deployment follower alone.

    `coming`: the models whose newest deployment is still to be applied; those that have no route yet are served soon.
    """

    def __init__(self) -> None:
        self._routes: Mapping[str, Route] = MappingProxyType({})
        self.coming: frozenset[str] = frozenset()

    def all(self) -> Mapping[str, Route]:
        """Every route, by model; never changes after it was handed out."""
        return self._routes

    def replace(self, route: Route) -> None:
        """Point a model at another deployment; a single store, so atomic for readers."""
        self._routes = MappingProxyType({**self._routes, route.deployment.model: route})

    def resolve(self, requested: str, session: str) -> tuple[Route, Assignment]:
        """The route and version for a request.

        Raises:
            ModelLoadingError: its first deployment is being loaded.
            UnknownModelError: nothing of this name is served.
        """
        name, prefix = assignment.split_pin(requested)
        model, coming = assignment.model_id(name), self.coming  # before the routes: what has left it by then is there
        route = self._routes.get(model)
        if route is None:
            raise ModelLoadingError(model) if model in coming else UnknownModelError("")
        if prefix is None:
            return route, assignment.assign(route.deployment, session)
        return route, assignment.pin(route.deployment, prefix, route.versions)
