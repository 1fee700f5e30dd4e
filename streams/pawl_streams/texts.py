"""What is done to the texts of an event before anything is stored: counted, their language told, scrubbed. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pawl_shared.events import FeedbackReceived, InferenceLogged, Message
from pawl_streams.language import Identify
from pawl_streams.policy import ScrubPolicy
from pawl_streams.scrub import scrub
from pawl_streams.sketch import sketch


@dataclass(frozen=True)
class Facts:
    """What is known of an event's texts without reading them; the names are those of InteractionScored."""

    language: str | None = None
    answer_language: str | None = None
    statistics: Mapping[str, float] = field(default_factory=dict)
    prompt_sketch: str = ""
    scrubbed: Mapping[str, int] = field(default_factory=dict)

    @property
    def fields(self) -> dict[str, object]:
        """For a revision."""
        return {**self.__dict__, "statistics": dict(self.statistics), "scrubbed": dict(self.scrubbed)}


def prepare(
    event: InferenceLogged | FeedbackReceived, policy: ScrubPolicy, identify: Identify
) -> tuple[InferenceLogged | FeedbackReceived, Facts]:
    """The event as it may be stored, and what is known of its texts."""
    counts: Counter[str] = Counter()

    def clean(text: str) -> str:
        new, found = scrub(text, policy)
        counts.update(found)
        return new

    if isinstance(event, FeedbackReceived):
        event = event.model_copy(update={"text": clean(event.text)}) if event.text else event
        return event, Facts(scrubbed=dict(counts))
    messages = tuple(turn.model_copy(update={"content": clean(turn.content)}) for turn in event.messages)
    update = {
        "messages": messages,
        "answer": clean(event.answer),
        "tools": clean(event.tools),
        "bound": clean(event.bound),
        "metadata": {name: clean(value) for name, value in event.metadata.items()},
    }
    prompt = _last_prompt(event.messages)
    about = sketch(_last_prompt(messages))
    facts = Facts(identify(prompt), identify(event.answer), _statistics(event, prompt), about, dict(counts))
    return event.model_copy(update=update), facts


def _last_prompt(messages: Sequence[Message]) -> str:
    return next((turn.content for turn in reversed(messages) if turn.role == "user"), "")


def _statistics(event: InferenceLogged, prompt: str) -> dict[str, float]:
    """Lengths: of the whole conversation that was sent, of its last prompt, and of the answer."""
    conversation = sum(len(turn.content) for turn in event.messages)
    return {
        "turns": float(len(event.messages)),
        "conversation_characters": float(conversation),
        "prompt_words": float(len(prompt.split())),
        "prompt_characters": float(len(prompt)),
        "answer_words": float(len(event.answer.split())),
        "answer_characters": float(len(event.answer)),
        "answer_repetition": _repetition(event.answer),
    }


def _repetition(text: str) -> float:
    """The share of runs of three words that stand in the text already; 0 where there are none."""
    words = text.split()
    runs = [tuple(words[i : i + 3]) for i in range(len(words) - 2)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0
