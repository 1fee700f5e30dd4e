"""What feedback is worth, by model, as the log says: the policies on pawl.commands, followed from its beginning."""

from __future__ import annotations

import threading

from pawl_shared import logging
from pawl_shared.buses.port import Bus, Record
from pawl_shared.codec import decode
from pawl_shared.errors import BusError, DecodeError, PawlError
from pawl_shared.events import ConfigureModelCommand
from pawl_shared.policies.reward_policy import RewardPolicy
from pawl_shared.topics import COMMANDS
from pawl_streams.policy import DEFAULT_REWARDS

POLL_SECONDS = 0.5
RETRY_SECONDS = 1.0
PATIENCE = 60.0
log = logging.get(__name__)


class RewardFollower:
    """A thread that reads; of() answers what is valid by now."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._known: dict[str, RewardPolicy] = {}
        self._read, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="reward-follower", daemon=True)

    def start(self, patience: float = PATIENCE) -> None:
        """Begin, and wait until the topic is read to its end: feedback must not be scored by a policy that was
        replaced. Raises BusError when that takes longer than `patience` seconds."""
        self._thread.start()
        if not self._read.wait(patience):
            raise BusError(f"{COMMANDS.name} could not be read to its end within {patience:.0f} s")

    def stop(self) -> None:
        """Stop reading."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def of(self, model: str) -> RewardPolicy:
        """The latest policy of a model; the defaults where there is none."""
        return self._known.get(model, DEFAULT_REWARDS)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                for record in self._bus.read(COMMANDS.name, self._stop.is_set, timeout=POLL_SECONDS):
                    if record is None:
                        self._read.set()
                    else:
                        self._note(record)
            except PawlError as error:
                log.warning("policies cannot be read; trying again", reason=str(error))
            except Exception:
                # A thread that ended here would score by the policy of today for ever.
                log.exception("following policies failed; it starts again")
            self._stop.wait(RETRY_SECONDS)

    def _note(self, record: Record) -> None:
        try:
            event = decode(record)
        except DecodeError:
            return  # the monitor and the validator report it as a dead letter
        if isinstance(event, ConfigureModelCommand):
            self._known[event.model] = event.policy.reward
