"""What was decided again beside what is on the log: the same, or how it differs.

A decision on the log is compared in the fields that it states: a writer states all that it knows, also where nothing is
in them. A field that it does not state was added by a later version, to which a decision of before that is no
difference; where the field now has a value, that is counted by its name, as new since.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeGuard
from uuid import UUID

from pydantic_core import to_jsonable_python

from pawl_shared.events import ENVELOPE, Event
from pawl_shared.events.base import Value
from pawl_shared.running.rebuild import Decisions, Rebuilt
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
    """Decisions by type that are the same, the differences, fields that are new since the log was written (type and
    name, with the number of decisions that now have a value there), and sentences about what could not be compared."""

    same: dict[str, int] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    new: dict[tuple[str, str], int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, known: Event, again: Event, without: Collection[str] = ()) -> None:
        """One decision, as it was read from the log and in the replay; `without` these fields."""
        found = tuple(_fields("", known, again, {"source", *without}))
        fields = tuple((each.name, each.known, each.again) for each in found if each.stated)
        if fields:
            self.differences.append(Difference(known.TYPE, known.id, "it comes out differently", fields))
        else:
            self.same[known.TYPE] = self.same.get(known.TYPE, 0) + 1
        for name in (each.name for each in found if not each.stated):
            self.new[known.TYPE, name] = self.new.get((known.TYPE, name), 0) + 1


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


class _Field(NamedTuple):
    """One that is not the same, and whether the log states it."""

    name: str
    known: Any
    again: Any
    stated: bool = True


def _fields(name: str, known: object, again: object, without: Collection[str] = ()) -> Iterable[_Field]:
    if isinstance(known, Value) and isinstance(again, Value):
        yield from _fields_of_values(name, known, again, without)
    elif _values(known) and _values(again) and len(known) == len(again):
        for place, (one, other) in enumerate(zip(known, again, strict=True)):
            yield from _fields(f"{name}.{place}", one, other)
    elif (one := to_jsonable_python(known)) != (other := to_jsonable_python(again)):
        yield _Field(name, one, other)


def _fields_of_values(name: str, known: Value, again: Value, without: Collection[str]) -> Iterable[_Field]:
    if type(known) is not type(again):
        yield _Field(f"{name}.type".lstrip("."), getattr(known, "TYPE", ""), getattr(again, "TYPE", ""))
        return
    stated = known.model_fields_set | ENVELOPE
    for each in (each for each in type(known).model_fields if each not in without):
        found = _fields(f"{name}.{each}".lstrip("."), getattr(known, each), getattr(again, each))
        yield from found if each in stated else (one._replace(stated=False) for one in found)


def _values(items: object) -> TypeGuard[tuple[Value, ...]]:
    return isinstance(items, tuple) and bool(items) and all(isinstance(item, Value) for item in items)
