"""Where answers are written before they are given: sealed, in the journal, with the keys that are new in front of them.

So an answer waits for no broker. Feedback does, and may overtake the journal: it has a key ring of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pawl_inference.record.journal import Journal
from pawl_shared import codec
from pawl_shared.buses.port import Message
from pawl_shared.events import Event
from pawl_shared.packed import pack
from pawl_shared.sealed.events import sealed
from pawl_shared.sealed.text import KeyRing
from pawl_shared.sealed.topic_keys import Keep


class AnswerLog:
    """On the journal, which stays its owner's. `ring` makes a key ring whose new keys are kept as it is told."""

    def __init__(self, journal: Journal, ring: Callable[[Keep], KeyRing]) -> None:
        self._journal, self._texts = journal, ring(self._keep)

    @property
    def full(self) -> bool:
        """Whether nothing more can be written until the broker is back."""
        return self._journal.full

    def append(self, event: Event) -> None:
        """Write an event. Raises JournalFullError."""
        self._journal.append(pack(codec.encode(sealed(event, self._texts))))

    def _keep(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self._journal.append(pack(message))
