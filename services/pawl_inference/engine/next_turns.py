"""Answers that are read as prompts in quiet moments: a conversation's next turn begins with them.

Their keys and values were there when they were made, but one token at a time, which sums attention in another order
than a prompt's pieces do: with those in the prefix cache, an answer would depend on what is remembered. So they are
read, as the next prompt would read them, while nobody asks for anything.
"""

from collections import deque
from dataclasses import dataclass, field

from pawl_inference.engine.pieces import Cuts
from pawl_inference.engine.sequence import Sequence

# People read an answer before they go on; a program asks again within milliseconds, and is not to wait for a piece.
PAUSE_SECONDS = 0.25


@dataclass
class Turn:
    """A prompt with its answer, in whole parts; what else there is says how far it was read, see `Reading`."""

    version: str
    prompt: tuple[int, ...]
    past: int = 0
    cached: int = 0
    prefix: list[bytes] = field(default_factory=list)


class NextTurns:
    """What is still to be read, the oldest first. Only the decode thread comes here.

    Args:
        limit: turns that are remembered; of more, the oldest are forgotten.
    """

    def __init__(self, limit: int) -> None:
        self._turns: deque[Turn] = deque(maxlen=limit)
        self._busy = 0.0

    def add(self, sequence: Sequence, cuts: Cuts) -> None:
        """Remember an answer that has come to its end, if it has parts that its prompt had not."""
        tokens = (*sequence.prompt, *sequence.tokens)
        whole = cuts.keepable(len(tokens), len(tokens))
        if sequence.finished in ("stop", "length") and whole > cuts.keepable(
            len(sequence.prompt), len(sequence.prompt)
        ):
            self._turns.append(Turn(sequence.version, tokens[:whole]))

    def interrupt(self, now: float) -> None:
        """A request takes the row in which a turn was read so far: it begins again, with what was kept of it."""
        self.rest_from(now)
        for turn in self._turns:
            turn.past = 0
            turn.prefix.clear()

    def rest_from(self, now: float) -> None:
        """Somebody is being answered at `now`, monotonic seconds."""
        self._busy = now

    def wait(self, now: float) -> float | None:
        """Seconds until something is to be read if nobody asks for anything; None: there is nothing."""
        return max(0.0, self._busy + PAUSE_SECONDS - now) if self._turns else None

    def take(self, now: float) -> Turn | None:
        """What to read a piece of now. It is forgotten unless `go_on` is told of it."""
        return self._turns.popleft() if self.wait(now) == 0 else None

    def go_on(self, turn: Turn) -> None:
        """A piece of this one was read; the next one follows if there is one."""
        if turn.past < len(turn.prompt):
            self._turns.appendleft(turn)
