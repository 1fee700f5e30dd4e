"""The versions of a model, from the log: where each comes from, its stage, when it served, and how it did. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from pawl_cli.log.follow import Seen
from pawl_cli.log.story import short
from pawl_shared import events as e
from pawl_shared.errors import PawlError

SHOWN = 8  # versions that an error lists


class UnknownVersionError(PawlError):
    """No version of the model, or several of them, begin like that."""


@dataclass(frozen=True)
class Version:
    """One version.

    Args:
        served: spans as champion; no end: it serves now.
        on_trial: its share of the sessions as challenger, now.
        reasons: of its latest change of stage.
        live: the latest figures of its sessions.
        precision, fidelity: of a base's serving graph, as ModelRegistered tells them.
    """

    version: str
    kind: str = "adapter"
    name: str = ""
    stage: str = ""
    since: datetime | None = None
    parent: str | None = None
    base: str = ""
    dataset: str | None = None
    recipe: str = ""
    served: tuple[tuple[datetime, datetime | None], ...] = ()
    on_trial: float = 0.0
    pinned: bool = False
    who: str = ""
    reasons: tuple[str, ...] = ()
    gates: tuple[e.GateResult, ...] = ()
    live: e.VersionObserved | None = None
    precision: str = ""
    fidelity: dict[str, float] = field(default_factory=dict)

    @property
    def serves(self) -> bool:
        """Whether it is champion now."""
        return bool(self.served) and self.served[-1][1] is None


@dataclass
class _Registry:
    versions: dict[str, Version] = field(default_factory=dict)

    def put(self, version: str, **changes: object) -> None:
        self.versions[version] = replace(self.versions.get(version, Version(version)), **changes)  # type: ignore[arg-type]

    def take(self, at: datetime, event: e.Event) -> None:
        match event:
            case e.AdapterTrained():
                self.put(
                    event.adapter, base=event.base, parent=event.parent, dataset=event.dataset, recipe=event.recipe
                )
            case e.ModelRegistered():
                self.put(
                    event.version, kind=event.kind, name=event.name, base=event.base, precision=event.precision,
                    fidelity=event.fidelity,
                )  # fmt: skip
            case e.StageChanged():
                self.put(event.version, stage=event.stage, since=at, reasons=event.reasons, who=event.who)
            case e.CandidateValidated() | e.CandidateRejected():
                if event.gates:  # a person's no brings none of its own
                    self.put(event.adapter, gates=event.gates)
            case e.VersionObserved():
                self.put(event.version, live=event)
            case e.DeploymentChanged():
                self._deployed(at, event)

    def _deployed(self, at: datetime, event: e.DeploymentChanged) -> None:
        for version in list(self.versions.values()):
            served = version.served
            if version.serves and version.version != event.champion.version:
                served = (*served[:-1], (served[-1][0], at))
            self.put(version.version, on_trial=0.0, pinned=False, served=served)
        champion = self.versions.get(event.champion.version, Version(event.champion.version))
        if not champion.serves:
            champion = replace(champion, served=(*champion.served, (at, None)))
        self.put(champion.version, served=champion.served, pinned=event.pinned == champion.version)
        if event.challenger:
            self.put(event.challenger.version, on_trial=event.share)


def versions(seen: Iterable[Seen]) -> list[Version]:
    """Those that a model's events tell of, in the order in which they were first heard of."""
    registry = _Registry()
    for each in seen:
        registry.take(each.at, each.event)
    return list(registry.versions.values())


def find(known: Sequence[Version], model: str, prefix: str) -> Version:
    """The version that begins like that. Raises UnknownVersionError, which lists what there is."""
    wanted = prefix.strip().lower()
    found = [version for version in known if wanted and version.version.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UnknownVersionError(f"{len(found)} versions of {model} begin with {prefix}: {_names(found)}; name more")
    if not known:
        raise UnknownVersionError(f"{model} has no versions yet")
    wanted = wanted or "nothing"
    raise UnknownVersionError(
        f"no version of {model} begins with {wanted}; there are {_names(known)} (`pawl models list`)"
    )


def _names(known: Sequence[Version]) -> str:
    named = [f"{_distinct(version.version, known)} ({version.stage or 'unknown'})" for version in known[-SHOWN:]]
    return ", ".join(named) + (f" and {len(known) - SHOWN} older" if len(known) > SHOWN else "")


def _distinct(version: str, known: Sequence[Version]) -> str:
    """As much of it as tells it from the others, and at least what is shown elsewhere."""
    others = [other.version for other in known if other.version != version]
    length = len(short(version))
    while any(other.startswith(version[:length]) for other in others) and length < len(version):
        length += 4
    return version[:length]
