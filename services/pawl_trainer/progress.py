"""What a run says about itself while it goes on."""

import math
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback

from pawl_shared.child import Progress
from pawl_trainer.errors import DivergedError

Report = Callable[[Progress], None]
# Where each phase begins in the whole run. The reference pass took 25-55 % of the time at one epoch, 15 % at three.
STARTS = {"prepare": 0.0, "load": 0.03, "reference": 0.06, "train": 0.25, "save": 0.97, "done": 1.0}
_NEXT = dict(zip(STARTS, [*list(STARTS.values())[1:], 1.0], strict=True))
# TRL's names and ours.
METRICS = {
    "loss": "loss",
    "grad_norm": "gradient_norm",
    "rewards/accuracies": "reward_accuracy",
    "rewards/margins": "reward_margin",
    "rewards/chosen": "reward_chosen",
    "rewards/rejected": "reward_rejected",
    "mean_token_accuracy": "token_accuracy",
    "kl": "kl",
}


def peak_memory() -> float:
    """The largest resident size of this process so far, in bytes (ru_maxrss is in KiB, on macOS in bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else peak * 1024)


class Phase:
    """Reports the steps of one phase, with the time that is left of it in seconds."""

    def __init__(self, report: Report, name: str, total: int) -> None:
        self._report, self._name, self.total, self._step = report, name, total, 0
        self._began = time.monotonic()
        self._send({}, "")

    def advance(self, metrics: dict[str, float] | None = None, message: str = "") -> None:
        """One step is done."""
        self._step = min(self._step + 1, self.total)
        self._send(metrics or {}, message)

    @property
    def seconds(self) -> float:
        """Since the phase began."""
        return time.monotonic() - self._began

    def _send(self, metrics: dict[str, float], message: str) -> None:
        done = self._step / self.total if self.total else 0.0
        fraction = STARTS[self._name] + done * (_NEXT[self._name] - STARTS[self._name])
        eta = self.seconds / self._step * (self.total - self._step) if self._step else None
        metrics = metrics | {"peak_memory_bytes": peak_memory()}
        self._report(
            Progress(
                phase=self._name, step=self._step, total=self.total, fraction=fraction, message=message,
                metrics=metrics, eta_seconds=eta,
            )
        )  # fmt: skip


class Watch(TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Reports every optimiser step, keeps the curve, and stops a run whose loss is no number."""

    def __init__(self, phase: Phase) -> None:
        self._phase = phase
        self.curve: list[dict[str, float]] = []
        self.tokens = 0.0

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Called by transformers after every step (logging_steps=1), and once more with a summary at the end."""
        if logs is None or "loss" not in logs:
            return
        point = {ours: float(logs[theirs]) for theirs, ours in METRICS.items() if theirs in logs}
        if not all(math.isfinite(point[name]) for name in ("loss", "gradient_norm") if name in point):
            raise DivergedError(f"the loss became {point['loss']} at step {state.global_step}")
        point = {name: value for name, value in point.items() if math.isfinite(value)}
        self.curve.append(point)
        self.tokens = float(logs.get("num_tokens", self.tokens))
        self._phase.advance(point | {"tokens_per_second": self.tokens / max(self._phase.seconds, 1e-9)})

    def summary(self) -> dict[str, float]:
        """Means over the first and the last quarter of the curve, as `loss_first`, `loss_last` and what they took."""
        quarter = max(1, len(self.curve) // 4)
        names = dict.fromkeys(name for point in self.curve for name in point)
        ends = {"first": self.curve[:quarter], "last": self.curve[-quarter:]}
        found = {
            f"{name}_{end}": [point[name] for point in points if name in point]
            for name in names
            for end, points in ends.items()
        }
        means = {name: sum(values) / len(values) for name, values in found.items() if values}
        return means | {"tokens": self.tokens, "train_seconds": self._phase.seconds}
