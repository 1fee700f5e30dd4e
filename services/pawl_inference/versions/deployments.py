"""Makes the engines serve what deployments say: load the new, then switch, then let the old go."""

from __future__ import annotations

import time

from pawl_inference import metrics
from pawl_inference.engine.port import NoFreeSlotError
from pawl_inference.versions.hosts import Artifacts, EngineFactory, Host, Hosts, StillLoadingError
from pawl_inference.versions.routing import Route, RouteTable, deployed
from pawl_inference.versions.slot_files import SlotFiles
from pawl_shared import logging
from pawl_shared.errors import AdapterRejectedError, PawlError
from pawl_shared.events import DeployedVersion, DeploymentChanged

log = logging.get(__name__)
RETRY_SECONDS = 5.0


class Deployments:
    """What should be served, what is, and why they differ. One thread calls it; routes are read by all."""

    def __init__(self, artifacts: Artifacts, make_engine: EngineFactory, routes: RouteTable) -> None:
        self._slot_files = SlotFiles(artifacts)
        self._hosts = Hosts(artifacts, make_engine)
        self._routes = routes
        self._wanted: dict[str, DeploymentChanged] = {}
        self._handled: dict[str, int] = {}
        # By model: what was in a slot once since its newest revision came. That one may make room for the next one of
        # the same revision, as it is loaded again when it is asked for.
        self._loaded: dict[str, set[DeployedVersion]] = {}
        # By model: when one that failed may be tried again; in monotonic seconds.
        self._retry_at: dict[str, float] = {}
        self.applied: dict[str, int] = {}
        self.problems: dict[str, str] = {}
        self.short_of_slots = False  # all that a pending deployment lacked at the last try

    def note(self, deployment: DeploymentChanged) -> None:
        """Remember the newest revision; older ones (a repeat, a late one) change nothing."""
        known = self._wanted.get(deployment.model)
        if known is None or deployment.revision > known.revision:
            self._wanted[deployment.model] = deployment
            self._loaded[deployment.model] = set()
            self._retry_at.pop(deployment.model, None)
            self._tell_coming()

    @property
    def pending(self) -> list[DeploymentChanged]:
        """Newest revisions that were not tried yet, wait for their graph, or failed for a reason that may pass."""
        return [each for each in self._wanted.values() if self._handled.get(each.model, 0) < each.revision]

    @property
    def served(self) -> bool:
        """Whether models are answered, and every other one that has a deployment was tried: one model that cannot be
        served, or not yet, takes no other one away."""
        answered = self._routes.all().keys()
        return bool(answered) and not self._routes.coming - answered - self.problems.keys()

    @property
    def revisions(self) -> dict[str, int]:
        """What is applied of each model; 0 of one that was tried in vain, so that its readers hear of it."""
        return dict.fromkeys(self.problems, 0) | self.applied

    def slots(self) -> dict[str, str]:
        """The versions that can be asked for, numbered; bases come first."""
        loaded = sorted({(v.slot_file is not None, v.version) for r in self._routes.all().values() for v in r.versions})
        return {str(number): version for number, (_, version) in enumerate(loaded)}

    def apply_pending(self) -> None:
        """Try every pending deployment, but one that failed not before RETRY_SECONDS have passed. What fails leaves the
        model with what it had, and a problem that says why; no other one waits for it."""
        self.short_of_slots = False
        for deployment in self.pending:
            if time.monotonic() < self._retry_at.get(deployment.model, 0.0):
                continue
            try:
                self._apply(deployment)
            except StillLoadingError:
                continue
            except AdapterRejectedError as error:
                self._refused(deployment, error)
            except NoFreeSlotError as error:  # an answer that ends makes room at any moment
                self.short_of_slots = True
                self.problems[deployment.model] = f"revision {deployment.revision}: {error}"
            except (PawlError, OSError) as error:
                self._failed(deployment, str(error))
            except Exception as error:  # of the runtime's many kinds: no other model may wait for this one
                log.exception("a deployment met what nobody expected")
                self._failed(deployment, f"{type(error).__name__}: {error}")
        self._tell_coming()

    def close(self) -> None:
        """End all engines."""
        self._hosts.close()

    def _tell_coming(self) -> None:
        self._routes.coming = frozenset(deployment.model for deployment in self.pending)

    def _apply(self, deployment: DeploymentChanged) -> None:
        """Load all versions, then switch. A challenger or an arm that is refused does not keep the champion from
        serving; an experiment without one of its arms would compare nothing."""
        champion, *tried = deployed(deployment)
        hosts = {champion.graph: self._load(champion, deployment.model)}
        refusal: AdapterRejectedError | NoFreeSlotError | None = None
        try:
            hosts |= {each.graph: self._load(each, deployment.model) for each in tried}
        except (AdapterRejectedError, NoFreeSlotError) as error:
            refusal = error
        served = deployment if refusal is None else _champion_alone(deployment)
        self._routes.replace(Route(served, hosts))
        if refusal is not None:
            raise refusal
        self._handled[deployment.model] = self.applied[deployment.model] = deployment.revision
        self.problems.pop(deployment.model, None)
        metrics.DEPLOYMENTS.labels("applied").inc()
        log.info("deployment applied", model=deployment.model, revision=deployment.revision, change=deployment.change)

    def _failed(self, deployment: DeploymentChanged, reason: str) -> None:
        """It may pass. The pause begins now: to find out that a store is away may take longer than that."""
        self._retry_at[deployment.model] = time.monotonic() + RETRY_SECONDS
        self.problems[deployment.model] = f"revision {deployment.revision}: {reason}"
        metrics.DEPLOYMENTS.labels("failed").inc()
        log.warning("deployment failed; it is tried again", model=deployment.model, reason=reason)

    def _refused(self, deployment: DeploymentChanged, error: PawlError) -> None:
        """Trying again would not help."""
        self._handled[deployment.model] = deployment.revision
        self.problems[deployment.model] = f"revision {deployment.revision}: {error}"
        metrics.DEPLOYMENTS.labels("refused").inc()
        log.error("deployment refused", model=deployment.model, revision=deployment.revision, reason=str(error))

    def _load(self, version: DeployedVersion, model: str) -> Host:
        """A version ready to answer: an adapter in its graph's engine, or a whole graph, which is its own base."""
        host = self._hosts.of(version.graph)
        engine = host.engine
        if engine.info.base != version.base or (version.slot_file is None and version.version != version.base):
            raise AdapterRejectedError(
                f"version {version.version[:12]} belongs to base {version.base[:12]} and the graph to "
                f"{engine.info.base[:12]}; validate the adapter again"
            )
        if version.slot_file is not None and version not in self._loaded[model]:
            if version.version not in engine.versions():
                slot_file = self._slot_files.of(version.slot_file)
                self._make_room(host)
                # Tried before, so many versions may be asked for all the time that none ever makes room.
                engine.publish(version.version, slot_file, insist=model in self.problems)
                log.info("version loaded", version=version.version)
            self._loaded[model].add(version)
        return host

    def _make_room(self, host: Host) -> None:
        """Retire what nothing refers to, as every loaded slot costs memory and time in each step."""
        for version in host.engine.versions() - self._referred(host):
            host.engine.retire(version)

    def _referred(self, host: Host) -> set[str]:
        """Versions of routes, and of deployments that are still to come."""
        live = {version.version for route in self._routes.all().values() for version in route.versions}
        coming = {each.version for deployment in self.pending for each in deployed(deployment)}
        return {host.engine.info.base} | live | coming

    def let_go(self) -> None:
        """Retire versions and graphs that no deployment names any more; requests in flight finish first."""
        used = {graph for route in self._routes.all().values() for graph in route.hosts}
        coming = [each for deployment in self.pending for each in deployed(deployment)]
        self._hosts.keep(used | {each.graph for each in coming})
        self._slot_files.keep({each.slot_file for each in coming})
        for host in self._hosts:
            self._make_room(host)


def _champion_alone(deployment: DeploymentChanged) -> DeploymentChanged:
    """Sessions are then outside of canary and experiment: they say nothing about what they cannot meet."""
    return deployment.model_copy(update={"challenger": None, "canary": None, "share": 0.0, "experiment": None})
