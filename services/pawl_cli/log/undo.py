"""What a rollback is to take away. The command names it, so that sending it twice, or too late, harms nothing else.
Pure."""

from collections.abc import Iterable

from pawl_cli.log.story import short
from pawl_shared.errors import PawlError
from pawl_shared.events import DeploymentChanged, Event


class NothingToUndoError(PawlError):
    """It is not clear what is to be taken away; the message says how to name it."""


def latest(events: Iterable[Event], model: str) -> DeploymentChanged:
    """The deployment that holds now. Raises NothingToUndoError."""
    found = [event for event in events if isinstance(event, DeploymentChanged)]
    mine = [event for event in found if event.model == model]
    if not mine:
        there = ", ".join(sorted({event.model for event in found})) or "no model at all"
        raise NothingToUndoError(f"nothing is deployed as {model}: Pawl serves {there}")
    return mine[-1]


def taken_away(now: DeploymentChanged) -> str:
    """The version that somebody means who names none: the one on trial, else the champion.

    Raises NothingToUndoError where that would reject a champion that nobody may have complained about.
    """
    if now.challenger is not None:
        return now.challenger.version
    champion = short(now.champion.version)
    if now.experiment is not None:
        raise NothingToUndoError(
            f"the experiment {now.experiment.name} runs: `pawl experiment stop` ends it and rejects no version; "
            f"`pawl rollback {champion}` takes the champion away, which ends it too"
        )
    if now.change == "rolled-back":
        raise NothingToUndoError(
            f"the latest change is a rollback already ({'; '.join(now.reasons)}): {champion} is champion; "
            f"`pawl rollback {champion}` takes that one away, too"
        )
    return now.champion.version
