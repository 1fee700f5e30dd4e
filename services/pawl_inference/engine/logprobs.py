"""Log-probabilities of an answer's tokens, told together with the text that the tokens make."""

from __future__ import annotations

from pawl_inference.engine import sampling
from pawl_inference.engine.port import TokenLogprob
from pawl_inference.engine.sampling import Logits
from pawl_inference.engine.text import TextCodec


class TokenLogprobs:
    """Never tells of a token whose text is still held back, or was cut off with a stop string.

    So those of a whole answer, joined, are the bytes of its text.
    """

    def __init__(self, codec: TextCodec, top: int) -> None:
        self._codec, self._top = codec, top
        self._held: list[tuple[int, TokenLogprob]] = []  # with the byte of the answer at which its text begins
        self._made = self._shown = 0  # bytes of text: of all tokens, and of what was told

    def add(self, token: int, logits: Logits) -> None:
        """A token that was chosen from logits [vocabulary]."""
        chosen, likeliest = sampling.log_probabilities(logits, token, self._top)
        top = tuple(TokenLogprob(self._codec.piece(other), value) for other, value in likeliest)
        self._held.append((self._made, TokenLogprob(self._codec.piece(token), chosen, top)))
        self._made += self._codec.width(token)

    def told(self, text: str, *, all_of_it: bool = False) -> tuple[TokenLogprob, ...]:
        """What belongs to the text that is told now. `all_of_it`: the answer ends, and nothing of it was cut off."""
        self._shown += len(text.encode())
        told = [each for begins, each in self._held if begins < self._shown or all_of_it]
        self._held = self._held[len(told) :]
        return tuple(told)
