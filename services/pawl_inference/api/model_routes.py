"""The list of models, with what the deployment record knows of each version's origin."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

from pawl_inference import errors
from pawl_inference.bodies.schemas import Model, ModelDeployment, ModelList, Status
from pawl_inference.domain.assignment import ModelLoadingError, UnknownModelError, route_name
from pawl_inference.versions.routing import Route, RouteTable
from pawl_shared.events import DeployedVersion, DeploymentChanged

PREFIX_SHOWN = 12


def add(app: FastAPI, routes: RouteTable, responses: dict[int | str, dict[str, Any]]) -> None:
    """Add them to the application. `responses`: the errors that any request may meet, and 404."""

    @app.get(
        "/v1/models",
        responses={status: each for status, each in responses.items() if status != 404},
        summary="Routes, and the versions that can be pinned",
    )
    async def list_models() -> ModelList:
        return ModelList(data=[each for _, route in sorted(routes.all().items()) for each in _models(route)])

    @app.get("/v1/models/{name:path}", responses=responses, summary="One route or version")
    async def get_model(name: str) -> Model:
        if not routes.all():
            raise errors.not_ready()
        try:
            route, assigned = routes.resolve(name, "")
        except UnknownModelError as error:
            raise errors.unknown_model(name, str(error)) from error
        except ModelLoadingError as error:
            raise errors.loading_model(name) from error
        if "@" not in name:
            return next(_models(route))
        return _model(route, assigned.served, name)


def _models(route: Route) -> Iterator[Model]:
    """The route, which is its champion, and each version."""
    name, champion = route_name(route.deployment.model), route.deployment.champion
    yield _model(route, champion, name)
    for each in route.versions:
        yield _model(route, each, f"{name}@{each.version[:PREFIX_SHOWN]}")


def _model(route: Route, served: DeployedVersion, name: str) -> Model:
    made = route.deployment
    return Model(
        id=name,
        created=int(made.time.timestamp()),
        version=served.version,
        base=served.base,
        parent=None if served.version == served.base else served.base,
        run=str(served.run) if served.run else None,
        status=_status(made, served.version),
        share=made.share if made.challenger and made.challenger.version == served.version else None,
        deployment=ModelDeployment(
            revision=made.revision, change=made.change, time=made.time, who=made.who, reasons=list(made.reasons)
        ),
    )


def _status(made: DeploymentChanged, version: str) -> Status:
    if version == made.champion.version:
        return "champion"
    if made.challenger and version == made.challenger.version:
        return "challenger"
    arms = made.experiment.arms if made.experiment else ()
    return "experiment" if any(version == arm.served.version for arm in arms) else "base"
