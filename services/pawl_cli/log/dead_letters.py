"""Dead letters as people see them: which there are, what became of them, and their records published once more."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Literal
from uuid import UUID

from pawl_cli.log.follow import history
from pawl_shared.buses.port import Bus, Message, Record
from pawl_shared.codec import encode
from pawl_shared.dead_letter import is_original, original, retried
from pawl_shared.errors import DeadLetterError
from pawl_shared.events import DeadLetter, RetryDeadLettersCommand
from pawl_shared.ids import uuid7
from pawl_shared.topics import COMMANDS, DEAD_LETTERS

State = Literal["open", "retried", "failed again"]
Place = tuple[str, int, int]
_COMMAND_LIMIT = 1000
_WAIT_SECONDS = 30.0


@dataclass(frozen=True)
class Letter:
    """A dead letter, when the broker took it, who had it tried again, and the letter of a retry that failed."""

    at: datetime
    event: DeadLetter
    retries: tuple[RetryDeadLettersCommand, ...] = ()
    again: UUID | None = None

    @property
    def state(self) -> State:
        """`open`: nobody has tried it again. A retry that failed has a letter of its own, which is open then."""
        return "failed again" if self.again else "retried" if self.retries else "open"

    @property
    def place(self) -> Place:
        """Where its record lies. Every service that cannot read a record writes a letter about it."""
        return self.event.topic, self.event.partition, self.event.offset


@dataclass(frozen=True)
class Filters:
    """Which letters are wanted; nothing given: all."""

    service: str = ""
    topic: str = ""
    since: datetime | None = None
    reason: str = ""

    def match(self, letter: Letter) -> bool:
        """Reasons by a part of them, in any case; a topic with or without `pawl.`."""
        event = letter.event
        return (
            self.service in ("", event.service)
            and self.topic in ("", event.topic, event.topic.removeprefix("pawl."))
            and (self.since is None or letter.at >= self.since)
            and self.reason.lower() in event.reason.lower()
        )


@dataclass(frozen=True)
class Retried:
    """What came of retrying: letters by what was done, and why some were not."""

    done: Sequence[Letter] = ()
    refused: dict[UUID, str] = field(default_factory=dict)


def load(bus: Bus) -> list[Letter]:
    """All letters that the topic still has, in the order of their arrival."""
    letters: dict[UUID, tuple[datetime, DeadLetter]] = {}
    retries: dict[UUID, list[RetryDeadLettersCommand]] = defaultdict(list)
    for at, event in history(bus, (DEAD_LETTERS, COMMANDS)):
        if isinstance(event, DeadLetter):
            letters.setdefault(event.id, (at, event))
        elif isinstance(event, RetryDeadLettersCommand):
            for letter in event.letters:
                retries[letter].append(event)
    found = [Letter(at, event, tuple(retries[event.id])) for at, event in letters.values()]
    return _linked(found)


def _linked(letters: Sequence[Letter]) -> list[Letter]:
    """With the newer letter of a retry that failed, where the same service wrote both."""
    place_of = {letter.event.id: letter.place for letter in letters}
    newer: dict[tuple[Place, str], UUID] = {}
    for letter in letters:
        place = place_of.get(letter.event.retry_of) if letter.event.retry_of else None
        if place is not None:
            newer[place, letter.event.service] = letter.event.id
    return [
        Letter(letter.at, letter.event, letter.retries, newer.get((letter.place, letter.event.service)))
        for letter in letters
    ]


def find(letters: Sequence[Letter], name: str) -> Letter:
    """The letter with this id, or the one whose id begins so. Raises DeadLetterError when it is none, or several."""
    found = [letter for letter in letters if str(letter.event.id).startswith(name.lower())]
    if len(found) == 1 and name:
        return found[0]
    if not found:
        raise DeadLetterError(
            f"no dead letter has the id {name!r}: `pawl dead-letters list` shows those that are still kept"
        )
    raise DeadLetterError(f"{len(found)} dead letters have ids that begin with {name!r}: give more of it")


def by_reason(letters: Iterable[Letter]) -> dict[str, int]:
    """How many have one reason, the most frequent first; numbers and quoted words are left out of reasons."""
    counts = Counter(re.sub(r"'[^']*'|\"[^\"]*\"|\d+", "…", letter.event.reason)[:120] for letter in letters)
    return dict(counts.most_common())


def retry(bus: Bus, letters: Sequence[Letter], who: str, why: str, now: datetime, rng: Random) -> Retried:
    """Publish their records again. A record that several services could not read is published once.

    First goes the command that says who wanted it, so that no record returns without one. Sending the same record twice
    is harmless: its event's id is known to whoever has read it.
    """
    groups: dict[Place, list[Letter]] = defaultdict(list)
    for letter in letters:
        groups[letter.place].append(letter)
    messages, refused = _messages(bus, groups)
    done = [letter for place in messages for letter in groups[place]]
    producer = bus.producer("pawl-cli")
    try:
        for batch in ([encode(command) for command in _commands(done, who, why, now, rng)], messages.values()):
            for future in [producer.send(message) for message in batch]:
                future.result(_WAIT_SECONDS)
    finally:
        producer.close()
    return Retried(done, refused)


def _messages(bus: Bus, groups: dict[Place, list[Letter]]) -> tuple[dict[Place, Message], dict[UUID, str]]:
    """The message of each place, or why its letters cannot be retried."""
    cut = {place: group[0].event for place, group in groups.items() if original(group[0].event) is None}
    records = _look_up(bus, cut)
    messages: dict[Place, Message] = {}
    refused: dict[UUID, str] = {}
    for place, group in groups.items():
        letter = group[0].event
        try:
            source = original(letter) or records.get(place)
            if source is None:
                raise DeadLetterError(
                    "the letter does not hold all of its record, which was too large, and its topic no longer has it"
                )
            messages[place] = retried(source, letter)
        except DeadLetterError as error:
            refused |= {each.event.id: str(error) for each in group}
    return messages, refused


def _look_up(bus: Bus, wanted: dict[Place, DeadLetter]) -> dict[Place, Record]:
    """Records that were too large for their letters, from their topics, as long as these keep them."""
    found: dict[Place, Record] = {}
    for topic in sorted({place[0] for place in wanted}):
        for record in bus.read(topic):
            place = (record.topic, record.partition, record.offset) if record else None
            if record and place in wanted and is_original(record, wanted[place]):
                found[place] = record
    return found


def _commands(
    letters: Sequence[Letter], who: str, why: str, now: datetime, rng: Random
) -> Iterable[RetryDeadLettersCommand]:
    topics: dict[str, list[UUID]] = defaultdict(list)
    for letter in letters:
        topics[letter.event.topic].append(letter.event.id)
    for topic, ids in topics.items():
        for start in range(0, len(ids), _COMMAND_LIMIT):
            yield RetryDeadLettersCommand(
                id=uuid7(now, rng), time=now, source="pawl-cli", topic=topic,
                letters=tuple(ids[start : start + _COMMAND_LIMIT]), who=who, why=why,
            )  # fmt: skip


def readable(content: bytes, limit: int) -> str:
    """Bytes as text that a terminal may print: what is no text, or would steer the terminal, is escaped."""
    text = content[:limit].decode("utf-8", "backslashreplace")
    shown = "".join(char if char.isprintable() or char == "\n" else _escaped(char) for char in text)
    return shown + (f"… ({len(content):,} bytes)" if len(content) > limit else "")


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode()
