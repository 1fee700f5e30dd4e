"""When to start a process again that ended by itself: exponential backoff, and a rule to give up. Pure."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class RestartPolicy:
    """All times in seconds."""

    first_delay: float = 0.5
    factor: float = 2.0
    longest_delay: float = 30.0
    give_up_after: int = 6  # failures in a row; with the delays above that is 16 s of waiting
    stable_after: float = 60.0  # a run of this length wipes the slate


@dataclass(frozen=True)
class RestartState:
    """How often a process failed in a row, and when it was last started."""

    failures: int = 0
    started: float = 0.0

    def begun(self, now: float) -> "RestartState":
        return replace(self, started=now)


@dataclass(frozen=True)
class Restart:
    """Start it again after `delay` seconds; None: give up."""

    delay: float | None
    reason: str


def step(policy: RestartPolicy, state: RestartState, now: float, status: int) -> tuple[RestartState, Restart]:
    """What to do about a process that ended at `now` with exit status `status` (negative: killed by that signal)."""
    ran = now - state.started
    failures = 1 if ran >= policy.stable_after else state.failures + 1
    how = f"was killed by signal {-status}" if status < 0 else f"ended with exit status {status}"
    after = replace(state, failures=failures)
    if failures >= policy.give_up_after:
        return after, Restart(None, f"{how} after {ran:.0f} s, {failures} times in a row: giving up")
    delay = min(policy.longest_delay, policy.first_delay * policy.factor ** (failures - 1))
    return after, Restart(delay, f"{how} after {ran:.0f} s: starting it again in {delay:.1f} s")
