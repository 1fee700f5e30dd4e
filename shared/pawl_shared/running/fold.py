"""What services give to the runner: pure folds over events.

What is made once an event is a named tuple: a frozen dataclass takes three times as long to make.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

from pawl_shared.events import Event
from pawl_shared.stores.port import Effect, Row

S = TypeVar("S")


class Delivery(NamedTuple):
    """An event with its place. `at` is the broker's time of its arrival, the only `now` that folds know."""

    event: Event
    at: datetime
    topic: str
    partition: int
    offset: int
    traceparent: str | None = None


class Step(NamedTuple, Generic[S]):
    """What a fold answers. `due`: when timer() is to be called for this key, by the time of a Tick."""

    state: S | None
    events: tuple[Event, ...] = ()
    rows: tuple[Row, ...] = ()
    effects: tuple[Effect, ...] = ()
    due: datetime | None = None


class Fold(Protocol[S]):
    """A pure decision: no I/O, no clock, no randomness but what the event's ids give.

    `topics` are those it reads; `state` is the type of its state, kept by key: a pydantic model, or a frozen dataclass
    with typed fields (a third of the time to make, where one is made for every event).
    """

    name: str
    topics: tuple[str, ...]
    state: type[S]

    def keys(self, event: Event) -> Sequence[str]:
        """The keys of the state that the event concerns; none: the event is of no interest."""

    def step(self, key: str, state: S | None, delivery: Delivery) -> Step[S]:
        """The next state, and what follows. No state: this key is new."""


@runtime_checkable
class TimedFold(Fold[S], Protocol[S]):
    """A fold whose steps say when a key is due."""

    def timer(self, key: str, state: S, tick: Delivery) -> Step[S]:
        """Called when a Tick's time has passed the key's `due`."""
