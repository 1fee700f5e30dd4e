"""What was decided again beside what is on the log: the same, or how it differs."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from pawl_shared.events import Event
from pawl_shared.rebuild import Decisions, Rebuilt
from pawl_shared.stores.port import Effect


@dataclass(frozen=True)
class Difference:
    """One decision that did not come out the same. `fields`: name, on the log, in the replay."""

    kind: str
    id: UUID
    what: str
    fields: tuple[tuple[str, Any, Any], ...] = ()


MISSING = "the replay decides it, the log does not"


@dataclass
class Comparison:
    """Decisions by type that are the same, the differences, and sentences about what could not be compared."""

    same: dict[str, int] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, known: Event, again: Event, without: Collection[str] = ()) -> None:
        """One decision, on the log and in the replay; `without` these fields."""
        fields = tuple(each for each in _fields(known, again) if each[0] not in without)
        if fields:
            self.differences.append(Difference(known.TYPE, known.id, "it comes out differently", fields))
        else:
            self.same[known.TYPE] = self.same.get(known.TYPE, 0) + 1


class Claims(Protocol):
    """Decisions that effects make, which have a way of their own to be decided again."""

    def owed(self, effect: Effect) -> None:
        """The replay owes this effect."""

    def compare(self) -> Comparison:
        """At its end."""


def compare(rebuilt: Rebuilt, on_log: Decisions) -> Comparison:
    """What was decided again beside what is on the log by now.

    Of what the log had at the beginning, decisions are left out whose cause the replay has not read: it is not on the
    log any more.
    """
    result = Comparison()
    for event in rebuilt.again.values():
        if event.id in on_log:
            result.add(on_log[event.id], event)
        else:
            result.differences.append(Difference(event.TYPE, event.id, MISSING))
    for event in rebuilt.standing.values():
        if event.id not in rebuilt.again and event.cause in rebuilt.read:
            result.differences.append(Difference(event.TYPE, event.id, "the log has it, the replay does not decide it"))
    return result


def _fields(known: Event, again: Event) -> Iterable[tuple[str, Any, Any]]:
    if type(known) is not type(again):
        yield "type", known.TYPE, again.TYPE
        return
    one, other = known.model_dump(mode="json", exclude={"source"}), again.model_dump(mode="json", exclude={"source"})
    yield from ((name, one[name], other[name]) for name in one if one[name] != other[name])
