"""Who asks, in which session, and which version answers. Pure: a restart or another replica decides the same."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from pawl_shared.events import Arm, DeployedVersion, DeploymentChanged, Experiment, ExperimentArm
from pawl_shared.ids import arm_of, is_challenger, subject_of

DEFAULT_TENANT = "default"
# Shorter prefixes of a digest would soon be ambiguous, and a reader cannot recognise them.
MIN_PREFIX = 6


@dataclass(frozen=True)
class Caller:
    """The session that a request belongs to, and a keyed hash of its user."""

    session: str
    subject: str | None


@dataclass(frozen=True)
class Assignment:
    """The version that answers, and why it does."""

    model: str
    arm: Arm
    served: DeployedVersion
    canary: UUID | None
    revision: int
    experiment: UUID | None = None
    experiment_arm: ExperimentArm | None = None


class UnknownModelError(LookupError):
    """No route or version of this name is served here."""


class ModelLoadingError(LookupError):
    """The model's first deployment was heard, and its artifacts are on their way."""


def resolve_caller(
    *,
    key: bytes,
    inference_id: UUID,
    now: datetime,
    session_id: str | None = None,
    conversation: str | None = None,
    user: str | None = None,
) -> Caller:
    """Fix the session, in this order: explicit id, conversation, user and day (UTC), else the request by itself.

    The user's id itself goes no further than this function: only its HMAC under `key` does.
    """
    subject = subject_of(key, user) if user else None
    if session_id:
        return Caller(session_id, subject)
    if conversation:
        return Caller(conversation, subject)
    if subject:
        return Caller(f"{subject}:{now:%Y-%m-%d}", subject)
    return Caller(str(inference_id), None)


def model_id(name: str) -> str:
    """The tenant's model for the name in a request: `assistant` is `default/assistant`."""
    return name if "/" in name else f"{DEFAULT_TENANT}/{name}"


def route_name(model: str) -> str:
    """What apps call a model: without its tenant where that is the default one."""
    tenant, _, name = model.partition("/")
    return name if tenant == DEFAULT_TENANT else model


def split_pin(requested: str) -> tuple[str, str | None]:
    """`assistant@3fa9c1` asks for one version: the route's name and the prefix of the version's digest."""
    name, at, prefix = requested.partition("@")
    return name, prefix if at else None


def assign(deployment: DeploymentChanged, session: str) -> Assignment:
    """The arm of a session: drawn by hash(canary or experiment, session), so that it stays for as long as that runs."""
    if deployment.experiment is not None:
        return _try(deployment, deployment.experiment, session)
    canary, challenger = deployment.canary, deployment.challenger
    arm: Arm = "champion"
    served = deployment.champion
    if canary and challenger and is_challenger(canary, session, deployment.share):
        arm, served = "challenger", challenger
    return Assignment(deployment.model, arm, served, canary, deployment.revision)


def _try(deployment: DeploymentChanged, experiment: Experiment, session: str) -> Assignment:
    """An arm that is the plain champion answers as the champion, and is evidence of it."""
    number = arm_of(experiment.id, session, [arm.share for arm in experiment.arms])
    champion = deployment.champion
    if number is None:
        return Assignment(deployment.model, "champion", champion, None, deployment.revision)
    met = experiment.arms[number]
    arm: Arm = "champion" if met.served.version == champion.version and not met.sets else "experiment"
    return Assignment(deployment.model, arm, met.served, None, deployment.revision, experiment.id, met)


def pin(deployment: DeploymentChanged, prefix: str, loaded: tuple[DeployedVersion, ...]) -> Assignment:
    """The one loaded version whose digest begins with `prefix`; for tests and audits, outside any canary.

    Raises UnknownModelError where none does, or more than one.
    """
    found = {version.version: version for version in loaded if version.version.startswith(prefix)}
    if len(prefix) < MIN_PREFIX:
        raise UnknownModelError(f"a version's prefix needs at least {MIN_PREFIX} hex digits, got {prefix!r}")
    if len(found) != 1:
        how_many = "no" if not found else "more than one"
        raise UnknownModelError(f"{how_many} version that begins with {prefix!r} is loaded; see /v1/models")
    (served,) = found.values()
    return Assignment(deployment.model, "pinned", served, None, deployment.revision)
