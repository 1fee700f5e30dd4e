"""Dead letters: looked at, tried again, linked when they fail again; on the memory bus with a real runner."""

import json
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from pydantic import BaseModel
from structlog.testing import capture_logs
from support.inference import eventually
from typer.testing import CliRunner

from pawl_cli.__main__ import app
from pawl_cli.commands import asked
from pawl_cli.commands import dead_letters as commands
from pawl_cli.log.dead_letters import Filters, Letter, by_reason, find, load, readable, retry
from pawl_shared.buses.memory_bus import MemoryBus
from pawl_shared.buses.port import Message
from pawl_shared.clock import ManualClock
from pawl_shared.codec import decode, encode
from pawl_shared.errors import DeadLetterError
from pawl_shared.events import Event, PauseCommand, RetryDeadLettersCommand
from pawl_shared.running.fold import Delivery, Step
from pawl_shared.running.runner import Runner
from pawl_shared.stores.memory import MemoryStore
from pawl_shared.topics import COMMANDS, TOPICS

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class State(BaseModel):
    handled: tuple[str, ...] = ()


class Fragile:
    """Cannot handle what says `trouble` until it is mended."""

    name = "fragile"
    topics = (COMMANDS.name,)
    state = State
    mended = False
    handled: tuple[str, ...] = ()

    def keys(self, event: Event) -> Sequence[str]:
        return ["all"] if isinstance(event, PauseCommand) else []

    def step(self, key: str, state: State | None, delivery: Delivery) -> Step[State]:
        event = delivery.event
        assert isinstance(event, PauseCommand)
        if event.why == "trouble" and not self.mended:
            raise KeyError("no such thing as 17")
        self.handled = (*self.handled, event.why)
        return Step(State(handled=self.handled))


class World:
    """A service that may fail, its broker, and whoever looks at its dead letters."""

    def __init__(self) -> None:
        self.clock = ManualClock(NOW)
        self.bus = MemoryBus(self.clock)
        self.bus.create_topics(TOPICS)
        self.fold, self.store = Fragile(), MemoryStore()

    def publish(self, *messages: Message) -> None:
        producer = self.bus.producer("test")
        for message in messages:
            producer.send(message).result()

    def command(self, why: str = "trouble") -> Message:
        return encode(PauseCommand(id=uuid.uuid4(), time=NOW, source="test", model="m", who="me", why=why))

    def run(self, condition: Callable[[], Any], service: str = "test") -> None:
        """The service, from where its store stands, until the condition holds."""
        stop = threading.Event()
        work = Runner(service, f"{service}/0", "0", self.bus, self.store, [self.fold])
        thread = threading.Thread(target=work.run, args=[stop])
        thread.start()
        try:
            eventually(condition, timeout=10)
        finally:
            stop.set()
            thread.join(10)

    def letters(self, state: str = "") -> list[Letter]:
        return [letter for letter in load(self.bus) if state in ("", letter.state)]

    def retry(self, letters: Sequence[Letter]) -> Any:
        return retry(self.bus, letters, "ada", "fixed", self.clock.now(), Random(1))

    def read(self) -> list[Any]:
        return [record for record in self.bus.read(COMMANDS.name) if record]


@pytest.fixture
def world() -> Iterator[World]:
    # the default log draws tracebacks with all variables, which takes half a second each
    with capture_logs():
        yield World()


def test_a_retried_record_is_handled_once_however_often_it_is_retried(world: World) -> None:
    sent = world.command()
    world.publish(world.command("calm"), sent)
    world.run(lambda: len(world.letters()) == 1)
    (letter,) = world.letters("open")
    world.fold.mended = True
    for _ in range(3):
        assert world.retry([letter]).refused == {}
    world.publish(world.command("end"))
    world.run(lambda: "end" in world.fold.handled)
    assert world.fold.handled == ("calm", "trouble", "end")
    copies = [record for record in world.read() if record.value == sent.value]
    assert len(copies) == 4
    assert all((record.key, record.headers[: len(sent.headers)]) == (sent.key, sent.headers) for record in copies)
    assert dict(copies[-1].headers)["pawl-retry-of"] == str(letter.event.id).encode()
    assert len(world.letters()) == 1
    (known,) = world.letters("retried")
    assert [(each.who, each.why, each.letters) for each in known.retries] == [("ada", "fixed", (letter.event.id,))] * 3


def test_a_retry_that_fails_again_is_linked_to_the_first_and_counted(world: World) -> None:
    world.publish(world.command())
    world.run(lambda: len(world.letters()) == 1)
    for attempt in (2, 3, 4):
        world.retry(world.letters("open"))
        world.run(lambda n=attempt: len(world.letters()) == n)
    letters = world.letters()
    assert [letter.event.attempt for letter in letters] == [1, 2, 3, 4]
    assert [letter.event.retry_of for letter in letters] == [None, *(letter.event.id for letter in letters[:-1])]
    assert [letter.state for letter in letters] == ["failed again"] * 3 + ["open"]
    assert [letter.again for letter in letters] == [*(letter.event.id for letter in letters[1:]), None]


def test_a_record_that_two_services_could_not_read_is_published_once(world: World) -> None:
    world.publish(Message(COMMANDS.name, b"m", b"{", ()))
    world.run(lambda: len(world.letters()) == 1, "one")
    world.store = MemoryStore()
    world.run(lambda: len(world.letters()) == 2, "two")
    before = len(world.read())
    assert len(world.retry(world.letters("open")).done) == 2
    assert len(world.read()) == before + 2  # the command and the record
    world.store = MemoryStore()
    world.run(lambda: len(world.letters("open")) == 1, "two")
    assert {letter.event.service: letter.state for letter in world.letters()[:2]} == {
        "one": "retried",
        "two": "failed again",
    }


def test_what_was_too_large_to_keep_comes_from_its_topic_while_that_has_it(world: World) -> None:
    large = Message(COMMANDS.name, b"m", b"x" * (100 << 10), (("a", b"1"), ("a", b"2")))
    world.publish(large)
    world.run(lambda: len(world.letters()) == 1)
    (letter,) = world.letters()
    assert letter.event.truncated
    assert world.retry([letter]).refused == {}
    again = world.read()[-1]
    assert (again.value, again.headers[:2]) == (large.value, large.headers)
    gone = MemoryBus(world.clock)
    gone.create_topics(TOPICS)
    world.clock.advance(8 * 86_400)
    gone.producer("t").send(large).result()  # another record at the old one's place is not mistaken for it
    done = retry(gone, [letter], "ada", "", NOW, Random(1))
    assert done.done == []
    assert "too large" in done.refused[letter.event.id]
    assert len([record for record in gone.read(COMMANDS.name) if record]) == 1


@pytest.mark.parametrize(
    ("key", "value", "headers"),
    [
        (None, b"{", ()),
        (b"", b"", ()),
        (b"k", None, (("ce_type", b"\xff"),)),
        (b"\xff", b"\xff\x00", (("", b""), ("naïve", b"x"))),
    ],
)
def test_a_record_comes_back_byte_by_byte(
    world: World, key: bytes | None, value: bytes | None, headers: tuple[tuple[str, bytes], ...]
) -> None:
    world.publish(Message(COMMANDS.name, key, value, headers))
    world.run(lambda: len(world.letters()) == 1)
    assert world.retry(world.letters()).refused == {}
    again = world.read()[-1]
    assert (again.key, again.value, again.headers[: len(headers)]) == (key, value, headers)


def test_a_record_with_neither_key_nor_value_cannot_be_retried(world: World) -> None:
    world.publish(Message(COMMANDS.name, None, None))
    world.run(lambda: len(world.letters()) == 1)
    assert "nothing to retry" in str(world.retry(world.letters()).refused)
    assert world.letters()[0].state == "open"


def test_headers_that_only_look_like_ours_are_no_retry(world: World) -> None:
    forged = (("pawl-retry-of", b"x"), ("pawl-attempt", b"2"))
    huge = (("pawl-retry-of", str(uuid.uuid4()).encode()), ("pawl-attempt", b"9" * 5000))
    world.publish(Message(COMMANDS.name, b"", b"{", forged), Message(COMMANDS.name, b"", b"{", huge))
    world.run(lambda: len(world.letters()) == 2)
    assert [(letter.event.retry_of, letter.event.attempt) for letter in world.letters()] == [(None, 1)] * 2


def test_letters_are_found_filtered_and_counted(world: World) -> None:
    world.publish(*(world.command() for _ in range(3)), Message(COMMANDS.name, b"", b"{", ()))
    world.run(lambda: len(world.letters()) == 4)
    letters = sorted(world.letters(), key=lambda letter: letter.place)
    assert by_reason(letters) == {"KeyError: …": 3, "no ce_type header: not a CloudEvent in binary mode": 1}
    assert [Filters(reason="keyERROR").match(letter) for letter in letters] == [True, True, True, False]
    assert Filters(service="test", topic="commands", since=NOW).match(letters[0])
    assert not Filters(since=NOW + timedelta(seconds=1)).match(letters[0])
    assert not Filters(service="other").match(letters[0])
    assert find(letters, str(letters[2].event.id)[:13].upper()) is letters[2]
    with pytest.raises(DeadLetterError, match="4 dead letters"):
        find(letters, "")
    with pytest.raises(DeadLetterError, match="dead-letters list"):
        find(letters, "zz")


def test_bytes_cannot_steer_a_terminal() -> None:
    assert readable(b"a\x1b[31m\r\x00\xff\nb", 100) == "a\\x1b[31m\\r\\x00\\xff\nb"
    assert readable("\u202e\ue000é".encode(), 100) == "\\u202e\\ue000é"
    assert readable(b"x" * 50, 10) == "x" * 10 + "… (50 bytes)"


# ---------------------------------------------------------------- commands


@pytest.fixture
def cli(world: World, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    for module in (commands, asked):
        monkeypatch.setattr(module, "bus_at", lambda *_: world.bus)
    runner = CliRunner()
    return lambda *words: runner.invoke(app, ["dead-letters", *words], env={"COLUMNS": "200"})


def test_the_commands(world: World, cli: Callable[..., Any]) -> None:
    assert "No dead letters" in cli("list").output
    world.publish(world.command(), Message(COMMANDS.name, b"[k]", b"\x1b{[red]", (("ce_type", b"[/x]"),)))
    world.run(lambda: len(world.letters()) == 2)
    listed = json.loads(cli("list", "--json", "--reason", "KeyError").output)
    assert listed["total"] == 1
    (letter,) = listed["letters"]
    assert (letter["state"], letter["service"], letter["topic"]) == ("open", "test", COMMANDS.name)
    text = cli("list", "--limit", "1").output
    assert "2 in all, 2 open" in text
    other = next(str(letter.event.id) for letter in world.letters() if "KeyError" not in letter.event.reason)
    shown = cli("show", other[:10])
    assert shown.exit_code == 0
    assert all(part in shown.output for part in ("[/x]", "[k]", "\\x1b{[red]", "ce_specversion is None"))
    content = json.loads(cli("show", other, "--json").output)
    assert (content["key"], content["headers"]) == ("[k]", {"ce_type": "[/x]"})
    assert cli("retry", "--all", "--reason", "KeyError", "--who", "ada").output == "published again: 1 of 1\n"
    done = json.loads(cli("retry", "--all", "--json").output)
    assert (done["retried"], done["refused"]) == ([other], {})
    assert cli("retry", "--all").output == "published again: 0 of 0\n"
    asked = [decode(record) for record in world.read() if b"retry-dead-letters" in dict(record.headers)["ce_type"]]
    assert next(event.who for event in asked if isinstance(event, RetryDeadLettersCommand)) == "ada"
    assert "Retried" in cli("show", other).output


def test_commands_that_cannot_work_say_why(world: World, cli: Callable[..., Any]) -> None:
    for words in (["retry"], ["retry", "--all", "x"]):
        result = cli(*words)
        assert result.exit_code == 2
        assert "--all" in result.output
    for words in (["show", "[/nope]"], ["retry", "nope"], ["list", "--since", "yesterday"]):
        result = cli(*words)
        assert result.exit_code == 1
        assert words[-1] in result.output
    world.publish(Message(COMMANDS.name, None, None))
    world.run(lambda: len(world.letters()) == 1)
    result = cli("retry", "--all")
    assert result.exit_code == 1
    assert "nothing to retry" in " ".join(result.output.split())
