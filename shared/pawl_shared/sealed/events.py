"""Which fields of events are sealed, whose they are, and where they stand. Everything else stays readable, so that
joins, folds and evidence need no keys, and a replay survives an erasure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar
from uuid import UUID

from pawl_shared.events import Event, FeedbackReceived, InferenceLogged, InteractionScored
from pawl_shared.sealed.text import KeyRing, Opener, Unavailable, is_sealed, seal

E = TypeVar("E", bound=Event)
# Told the owner of a text, its place and the text; answers what shall stand there.
_Change = Callable[[str, str, str], str]


def owner_of(event: InferenceLogged | FeedbackReceived) -> str:
    """Whose key seals an event's texts: the subject's, or the session's where no user was given."""
    tenant = event.model.partition("/")[0]
    return f"{tenant}/subject/{event.subject}" if event.subject else f"{tenant}/session/{event.session}"


def of_one_request(owner: str) -> bool:
    """Whether the owner is, by its name, the session of a single request: such a session is called like the request's
    answer, by a UUIDv7. An app that calls its own sessions so gets more keys than it needs, no less."""
    _, _, session = owner.partition("/session/")
    try:
        return UUID(session).version == 7
    except ValueError:
        return False


def message_place(inference_id: UUID | str, choice: int, index: int) -> str:
    """Where the content of a conversation's turn stands."""
    return f"{inference_id}/{choice}/messages/{index}"


def answer_place(inference_id: UUID | str, choice: int) -> str:
    """Where an answer stands."""
    return f"{inference_id}/{choice}/answer"


def terms_place(inference_id: UUID | str, choice: int, name: str) -> str:
    """Where the tools that were offered stand, or what bound the answer."""
    return f"{inference_id}/{choice}/{name}"


def feedback_place(inference_id: UUID | str, choice: int, kind: str) -> str:
    """Where a correction or comment stands."""
    return f"{inference_id}/{choice}/{kind}"


def sealed(event: E, ring: KeyRing) -> E:
    """The event with every text sealed, also one that looks as if it were. For the edge, where texts enter.

    Raises what `KeyRing.ensure` raises.
    """
    return all_sealed([event], ring)[0]


def all_sealed(events: Iterable[E], ring: KeyRing) -> list[E]:
    """The events with every text sealed, and one wait for all the keys that are missing. Raises like `sealed`."""
    found = list(events)
    keys = ring.ensure(owner for event in found for owner in _owners(event))
    return [_with_texts(event, lambda owner, place, text: seal(keys[owner], text, place)) for event in found]


def opened(event: E, opener: Opener) -> E:
    """The event with every text opened, or its marker where that is not possible. Never raises."""
    return _with_texts(event, lambda _, place, text: opener.open(text, place))


def resealed(original: E, changed: E, ring: KeyRing) -> E:
    """What somebody made of `opened(original)`, sealed again: for whoever scrubs. Plain texts are sealed as well.

    A text that was not changed keeps its envelope, and so does one that could not be opened: no key is made for
    somebody who was erased.

    Raises what `KeyRing.seal` raises.
    """
    before: dict[str, str] = {}
    _with_texts(original, lambda _, place, text: before.setdefault(place, text))

    def anew(owner: str, place: str, text: str) -> str:
        old = before[place]
        kept = isinstance(text, Unavailable) or (is_sealed(old) and ring.open(old, place) == text)
        return old if kept else ring.seal(owner, text, place)

    return _with_texts(changed, anew)


def _with_texts(event: E, change: _Change) -> E:
    update: dict[str, object]
    match event:
        case InferenceLogged():
            owner, at, choice = owner_of(event), event.inference_id, event.choice
            turns = (
                turn.model_copy(update={"content": change(owner, message_place(at, choice, index), turn.content)})
                for index, turn in enumerate(event.messages)
            )
            answer = change(owner, answer_place(at, choice), event.answer)
            update = {"messages": tuple(turns), "answer": answer, "answer_words": event.words}
            terms = {"tools": event.tools, "bound": event.bound}
            update |= {name: change(owner, terms_place(at, choice, name), text) for name, text in terms.items() if text}
        case FeedbackReceived(text=str() as text):
            place = feedback_place(event.inference_id, event.choice, event.kind)
            update = {"text": change(owner_of(event), place, text)}
        case InteractionScored():
            update = {
                "inference": event.inference and _with_texts(event.inference, change),
                "feedback": event.feedback and _with_texts(event.feedback, change),
            }
        case _:
            return event
    return event.model_copy(update=update)


def _owners(event: Event) -> Iterator[str]:
    """Owners of the texts in an event."""
    match event:
        case InferenceLogged() | FeedbackReceived(text=str()):
            yield owner_of(event)
        case InteractionScored():
            yield from (owner for part in (event.inference, event.feedback) if part for owner in _owners(part))
