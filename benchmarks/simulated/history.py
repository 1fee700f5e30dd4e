"""One seed: its history, and what it broke."""

from __future__ import annotations

from dataclasses import dataclass

import structlog
from benchmarks.simulated.invariants import broken
from benchmarks.simulated.world import RATE, STEPS, World

SHOWN = 5


@dataclass(frozen=True)
class Outcome:
    """What came of a seed."""

    seed: int
    faults: dict[str, int]
    decisions: int
    broken: tuple[str, ...]
    steps: str

    def __str__(self) -> str:
        found = "\n".join(f"  {sentence}" for sentence in self.broken[:SHOWN])
        more = f"\n  and {len(self.broken) - SHOWN} more" if len(self.broken) > SHOWN else ""
        return (
            f"seed {self.seed}, {sum(self.faults.values())} faults: {len(self.broken)} invariants do not hold\n{found}"
            f"{more}\nthe last steps under fire:\n{self.steps}\n"
            f"again:  python -m benchmarks.simulation --seed {self.seed}"
        )


def history(seed: int, rate: float = RATE, steps: int = STEPS) -> Outcome:
    """Run it and look at what is left. `steps`: under fire; tests take fewer."""
    # Every fault is logged by whom it hits: thousands of lines that nobody expects to read.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    world = World(seed, steps, rate)
    try:
        world.run()
        found = broken(world)
    except AssertionError as error:
        found = [str(error) or repr(error)]
    decisions = len([record for record in world.bus.read("pawl.deployments") if record])
    return Outcome(seed, dict(world.faults.count), decisions, tuple(found), world.faults.history)
