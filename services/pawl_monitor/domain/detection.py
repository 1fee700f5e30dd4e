"""The detectors of one model: made from its policy under one budget, and their alarms as events."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from pawl_monitor.domain.advice import advise
from pawl_monitor.domain.approval import ApprovalPolicy
from pawl_monitor.domain.assessment import told
from pawl_monitor.domain.clusters import Recent, clusters_of
from pawl_monitor.domain.detectors import MORE, SHARES, Change
from pawl_monitor.domain.explanation import Deployed, Ratings, interval, near, sentence_of
from pawl_monitor.domain.further import Further, further_of
from pawl_monitor.domain.output import OutputPolicy
from pawl_monitor.domain.traffic import TrafficPolicy
from pawl_shared.events import DriftDetected, SessionObserved
from pawl_shared.ids import derived_id
from pawl_shared.policies.model_policy import Detectors


class Policies(NamedTuple):
    """Detectors that keep to one budget together; None where something is not watched."""

    approval: ApprovalPolicy
    traffic: TrafficPolicy | None
    output: OutputPolicy | None
    further: tuple[Further, ...]


def detectors_of(policy: Detectors) -> Policies:
    """What a model.yaml asks for. What is not watched leaves its part of the budget unspent."""
    n0, tolerance = policy.approval.reference_sessions, policy.approval.tolerance
    guaranteed = sum(watch.by == "pawl" for watch in policy.more.values())
    alpha = (1 - MORE) * policy.alpha if guaranteed else policy.alpha
    each = MORE * policy.alpha / max(guaranteed, 1)
    return Policies(
        ApprovalPolicy(SHARES["approval"] * alpha, policy.delta, n0, tolerance=tolerance),
        TrafficPolicy(SHARES["traffic"] * alpha) if policy.traffic.watch else None,
        OutputPolicy(SHARES["output"] * alpha, n0) if policy.output.watch else None,
        tuple([further_of(name, watch, each) for name, watch in policy.more.items()]),
    )


class Known(NamedTuple):
    """What is known besides the change itself. `usual`: sketches of the traffic detector's reference."""

    deployments: tuple[Deployed, ...]
    ratings: Ratings
    recent: tuple[Recent, ...]
    usual: tuple[str, ...]
    digest: str | None


def alarm(event: SessionObserved, change: Change, source: str, known: Known) -> DriftDetected:
    """The alarm that this session raised, explained by what is known by now."""
    identity = derived_id(event.id, f"{DriftDetected.TYPE}/{change.detector.partition('/')[0]}")
    clusters = clusters_of(identity, known.usual, known.recent, change.since)
    deployments = near(known.deployments, change.since)
    before, after = known.ratings.around(change.since)
    return DriftDetected(
        id=identity,
        time=event.time,
        source=source,
        cause=event.id,
        model=event.model,
        detector=change.detector,
        statistic=change.statistic,
        direction=change.direction,
        version=event.version,
        since=change.since,
        before=interval(change.before),
        after=interval(change.after),
        sessions=change.before.n + change.after.n,
        evidence=change.evidence,
        threshold=change.threshold,
        sentence=sentence_of(change, deployments),
        rated_before=before and interval(before),
        rated_after=after and interval(after),
        deployments=tuple(deployed.id for deployed in deployments),
        examples=tuple(UUID(example) for example in change.examples),
        clusters=told(clusters),
        advice=advise(change.statistic, change.direction, clusters),
        policy=known.digest,
    )
