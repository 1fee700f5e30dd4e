"""An error budget over an endless series of canaries, as a fold over the log: e-LOND.

Xu and Ramdas, "Online multiple testing with e-values", AISTATS 2024 (arXiv 2311.06412): the t-th test rejects when its
e-value reaches 1 / alpha_t, alpha_t = alpha gamma_t (R + 1), R rejections before it, gamma summing to 1. Then the false
discovery rate is at most alpha after every number of tests, however they depend on each other. A rejection here is a
promotion; the rate is the expected share of promotions that brought nothing.
"""

from __future__ import annotations

from functools import lru_cache
from math import log

from pydantic import BaseModel, ConfigDict

TERMS = 1 << 16  # that are summed; the integral bounds the rest


class Series(BaseModel):
    """Canaries that were begun, and how many of them the evidence promoted."""

    model_config = ConfigDict(frozen=True)

    begun: int = 0
    promoted: int = 0

    def begin(self) -> Series:
        """One more."""
        return self.model_copy(update={"begun": self.begun + 1})

    def promote(self) -> Series:
        """The running one was promoted by evidence; what people promote costs nothing."""
        return self.model_copy(update={"promoted": self.promoted + 1})

    def level(self, alpha: float, most: float) -> float:
        """The level of the next canary: what e-LOND leaves of `alpha`, and at most `most`."""
        return min(most, alpha * gamma(self.begun + 1) * (self.promoted + 1))


def gamma(number: int) -> float:
    """Shares that sum to 1: proportional to 1 / ((t + 1) ln^2(t + 1)), which falls about as slowly as it can."""
    return _term(number) / _norm()


@lru_cache(maxsize=1)
def _norm() -> float:
    """At least the whole sum, so that the shares sum to at most 1."""
    return sum(_term(number) for number in range(1, TERMS + 1)) + 1 / log(TERMS + 1)


def _term(number: int) -> float:
    return 1 / ((number + 1) * log(number + 1) ** 2)
