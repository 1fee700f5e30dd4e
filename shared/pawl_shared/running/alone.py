"""A service with a runner is one process: a second one, under another name, waits at the door and then says no.

Kafka would give it half of the partitions. Each of the two would decide on half of the events, and a monitor's database
would hold half of the answers. Several processes of one service are for later; a second one that waits is for now: the
monitor's standby, which has the same data (docs/limits.md).
"""

from __future__ import annotations

from collections.abc import Callable

from pawl_shared.buses.port import Bus
from pawl_shared.errors import BusError, SecondInstanceError

LOOK_SECONDS = 0.5


class Alone:
    """One member's view of its group.

    Args:
        patience: seconds that `enter` waits for another's place to become free; a killed one's takes 10 s.
    """

    def __init__(self, bus: Bus, group: str, instance: str, patience: float) -> None:
        self._bus, self._group, self._instance, self._patience = bus, group, instance, patience

    def enter(self, sleep: Callable[[float], None]) -> None:
        """Before joining. Raises SecondInstanceError when another one works and goes on working.

        A broker that has just been started may not say who is in a group: `joined` asks it again.
        """
        waited = 0.0
        while others := self._others_if_known():
            if waited >= self._patience:
                raise self._error(others)
            sleep(LOOK_SECONDS)
            waited += LOOK_SECONDS

    def joined(self) -> None:
        """After partitions were given: of two that entered at the same moment, the one whose name is first stays."""
        others = self._others()
        if others and others[0] < self._instance:
            raise self._error(others)

    def _others_if_known(self) -> list[str]:
        try:
            return self._others()
        except BusError:
            return []

    def _others(self) -> list[str]:
        return sorted(self._bus.members(self._group) - {self._instance})

    def _error(self, others: list[str]) -> SecondInstanceError:
        return SecondInstanceError(
            f"instance {others[0]!r} works in {self._group} already, and {self._instance!r} would take half of its "
            "partitions: run one process of this service, or stop that one first (a killed one counts for 10 s more)"
        )
