"""What all commands to the loop have in common: who wants it, why, of which model, and which Pawl is told.

Typer knows no groups of options. A command under @asking has a parameter `asked`, and Typer is shown the fields of its
type in place of it.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Any, get_type_hints
from uuid import uuid4

from pawl_cli.commands.cluster import bus_at
from pawl_cli.commands.common import DEFAULT_DATA, AsJson, Data, Model, Servers, Who, Why, user
from pawl_cli.log.policies import SOURCE
from pawl_shared.buses.port import Bus
from pawl_shared.clock import SystemClock
from pawl_shared.policies.values import DEFAULT_MODEL


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Options of a command that finds out by itself which model it is about."""

    why: Why = ""
    who: Who = ""
    data: Data = DEFAULT_DATA
    kafka: Servers = ""
    json: AsJson = False

    @property
    def by(self) -> str:
        """Who wants it."""
        return self.who or user()

    def bus(self) -> Bus:
        """Of the Pawl that is told. Raises NotRunningError, ConfigurationError."""
        return bus_at(self.data, self.kafka)

    def envelope(self, model: str) -> dict[str, Any]:
        """What every command on the log carries."""
        now = SystemClock().now()
        return {"id": uuid4(), "time": now, "source": SOURCE, "model": model, "who": self.by, "why": self.why}


@dataclass(frozen=True, kw_only=True)
class AskedOf(Asked):
    """Options of a command about one model."""

    model: Model = DEFAULT_MODEL


def asking(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the options of its parameter `asked`, after its own ones."""
    own = get_type_hints(command, include_extras=True)
    kind = own.pop("asked")
    shared = get_type_hints(kind, include_extras=True)
    names = [field.name for field in fields(kind)]

    @wraps(command)
    def typed(**given: Any) -> None:
        command(asked=kind(**{name: given.pop(name) for name in names}), **given)

    mine = [
        parameter.replace(annotation=own[name], kind=Parameter.KEYWORD_ONLY)
        for name, parameter in signature(command).parameters.items()
        if name != "asked"
    ]
    theirs = [
        Parameter(field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=shared[field.name])
        for field in fields(kind)
    ]
    typed.__signature__ = Signature([*mine, *theirs])  # type: ignore[attr-defined]
    typed.__annotations__ = own | {name: shared[name] for name in names}
    return typed
