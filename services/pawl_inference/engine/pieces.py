"""Where a prompt is cut. Pure.

Keys and values that are kept of a prompt must be, bit for bit, those that computing them again would give, whatever
else was known then. What a token gives depends on the run that computed it: ONNX Runtime's matrix product (MLAS) cuts
floats' sums by the number of columns, and by the threads. In masked graphs (ADR 9) the columns of an adapter's products
are tokens, so with an adapter every prompt is cut at the same places, as all prompts are where the base multiplies
floats. Of int8 weights sums are exact in blocks of their own, and in grouped graphs (ADR 24) an adapter's columns are
its rank and its outputs: any two tokens or more give the same bits, and a prompt may be cut anywhere. (SmolLM2-135M
with adapters, 280 pairs of ways to cut prompts of up to 150 tokens, on 1 to 4 threads.)

No token may be alone in a block of attention either, since a single row is multiplied by another kernel there, too.
Grouped attention takes queries in blocks of twice the head's size, of fewer where the L2 cache is small
(MlasFlashAttention); those that are met are multiples of 32. A head of 16 showed it: of 1,128 pairs of ways to cut
prompts of up to 200 tokens 27 differed, each with a piece of 33, and none once those were avoided.
"""

from dataclasses import dataclass

from pawl_shared.models.graph_spec import GraphSpec

_GRAIN = 16
_ALIKE = 2  # a single token is multiplied by another kernel
_BLOCK = 32


@dataclass(frozen=True)
class Cuts:
    """How prompts are cut.

    Args:
        grain: tokens of the parts in which prompts are kept.
        shortest: tokens of the shortest piece but for a shorter prompt.
        longest: tokens of a piece at most; a multiple of `grain`.
        block: the last token of a piece is not alone in its block of so many; 0: it may be.
    """

    grain: int
    shortest: int
    longest: int
    block: int = 0

    def piece(self, length: int, past: int) -> tuple[int, int]:
        """The next tokens to read of a prompt, as (start, stop). `start` lies before `past` where too few would be
        left: what is computed twice comes out the same."""
        stop = min(past + self.longest, length)
        start = max(0, min(past, stop - self.shortest))
        if self.block and stop - start > self.block and (stop - start) % self.block == 1:
            start, stop = (start - 1, stop) if start and stop - start < self.longest else (start, stop - 1)
        return start, stop

    def reusable(self, length: int) -> int:
        """How many tokens of a prompt may come from what was kept: whole parts, and a piece is left to be read."""
        return max(0, length - self.shortest) // self.grain * self.grain

    def keepable(self, length: int, past: int) -> int:
        """How many of the first `past` tokens may be kept."""
        return past // self.grain * self.grain if length >= self.shortest else 0


def fixed(longest: int) -> Cuts:
    """At multiples of `longest`, in every prompt."""
    return Cuts(longest, 1, longest)


def free(longest: int) -> Cuts:
    """Anywhere, where pieces of any length give the same bits."""
    return Cuts(min(_GRAIN, longest), _ALIKE, longest, _BLOCK)


def of(spec: GraphSpec, longest: int, *, adapted: bool) -> Cuts:
    """How prompts to the base or to an adapter are cut for a graph on the CPU."""
    alike = spec.precision == "int8" and (spec.grouped or not adapted)
    return free(longest) if alike else fixed(longest)
