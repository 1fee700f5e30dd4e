"""`pawl dead-letters`: what could not be read or handled, and trying it again."""

import re
from base64 import b64decode
from datetime import datetime, timedelta
from random import SystemRandom
from typing import Annotated, Any

import typer
from pydantic import AwareDatetime, TypeAdapter, ValidationError
from rich.console import Console
from rich.table import Table

from pawl_cli.commands.asked import Asked, asking
from pawl_cli.commands.cluster import bus_at
from pawl_cli.commands.common import DEFAULT_DATA, FAILED, AsJson, Data, Servers, errors, print_json, told
from pawl_cli.log.dead_letters import Filters, Letter, by_reason, find, load, readable, retry
from pawl_shared.clock import SystemClock
from pawl_shared.errors import DeadLetterError

dead_letters_app = typer.Typer(help="Records that could not be read or handled.", no_args_is_help=True)
EXCERPT = 2_000
HEADER_EXCERPT = 200
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

Service = Annotated[str, typer.Option("--service", help="Only those of this service, such as `monitor`.")]
Topic = Annotated[str, typer.Option("--topic", help="Only those about this topic, such as `pawl.feedback`.")]
Since = Annotated[str, typer.Option("--since", help="Only those from then on: `90m`, `2h`, `7d`, or a time with zone.")]
Reason = Annotated[str, typer.Option("--reason", help="Only those whose reason contains this text.")]


@dead_letters_app.command("list")
def list_(
    service: Service = "",
    topic: Topic = "",
    since: Since = "",
    reason: Reason = "",
    limit: Annotated[int, typer.Option("--limit", min=0, help="How many to show, the latest; counts are of all.")] = 20,
    data: Data = DEFAULT_DATA,
    kafka: Servers = "",
    json: AsJson = False,
) -> None:
    """List dead letters with what became of them, and count them by reason.

    Example:  pawl dead-letters list --service monitor --since 2h --reason "not JSON"
    """
    with told():
        filters = Filters(service, topic, _since(since), reason)
        letters = [letter for letter in load(bus_at(data, kafka)) if filters.match(letter)]
        shown = letters[-limit:] if limit else []
        if json:
            print_json({"total": len(letters), "reasons": by_reason(letters), "letters": [_plain(x) for x in shown]})
        else:
            _show_list(letters, shown)


@dead_letters_app.command("show")
def show(
    letter_id: Annotated[str, typer.Argument(help="The id of a dead letter, or enough of its beginning.")],
    data: Data = DEFAULT_DATA,
    kafka: Servers = "",
    json: AsJson = False,
) -> None:
    """Show one dead letter: reason, origin, headers, and the beginning of its bytes.

    Example:  pawl dead-letters show 3f2a9c1e
    """
    with told():
        letter = find(load(bus_at(data, kafka)), letter_id)
        if json:
            print_json(_plain(letter) | _content(letter))
        else:
            _show_one(letter)


@dead_letters_app.command("retry")
@asking
def retry_(
    asked: Asked,
    letter_ids: Annotated[list[str] | None, typer.Argument(help="Ids, or enough of their beginnings.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="All that are open and match the options below.")] = False,
    service: Service = "",
    topic: Topic = "",
    since: Since = "",
    reason: Reason = "",
) -> None:
    """Publish the records of dead letters again on their topics, as they were. Nothing is counted twice by it.

    Example:  pawl dead-letters retry 3f2a9c1e --why "the fold is fixed"

    Example:  pawl dead-letters retry --all --service monitor --reason "KeyError"
    """
    if bool(letter_ids) == all_:
        raise typer.BadParameter("name letters by their ids, or give --all (with --service, --topic, …): one of both")
    with told():
        bus, filters = asked.bus(), Filters(service, topic, _since(since), reason)
        letters = load(bus)
        chosen = (
            [letter for letter in letters if letter.state == "open" and filters.match(letter)]
            if all_
            else list(
                {letter.event.id: letter for letter in (find(letters, name) for name in letter_ids or ())}.values()
            )
        )
        done = retry(bus, chosen, asked.by[:200], asked.why, SystemClock().now(), SystemRandom())
        if asked.json:
            print_json({"retried": [x.event.id for x in done.done], "refused": done.refused})
        else:
            typer.echo(f"published again: {len(done.done)} of {len(chosen)}")
            for identity, problem in done.refused.items():
                errors.print(f"{identity}: {problem}", markup=False)
    if done.refused:
        raise typer.Exit(FAILED)


def _since(text: str) -> datetime | None:
    if not text:
        return None
    if match := re.fullmatch(r"(\d{1,6})([smhd])", text):
        return SystemClock().now() - timedelta(**{_UNITS[match[2]]: int(match[1])})
    try:
        found: datetime = TypeAdapter(AwareDatetime).validate_python(text)
    except ValidationError as error:
        raise DeadLetterError(
            f"--since {text!r} is no time: give a span such as 90m, 2h or 7d, or a time such as 2026-01-31T12:00:00Z"
        ) from error
    return found


# ---------------------------------------------------------------- output


def _plain(letter: Letter) -> dict[str, Any]:
    event = letter.event
    named = event.model_dump(mode="json", exclude={"record_key", "record_value", "record_headers", "source", "cause"})
    retries = [{"who": each.who, "why": each.why, "at": each.time.isoformat()} for each in letter.retries]
    return named | {
        "at": letter.at.isoformat(),
        "state": letter.state,
        "retries": retries,
        "again": str(letter.again) if letter.again else None,
    }


def _content(letter: Letter) -> dict[str, Any]:
    """Key, headers and value as text, and the value's bytes in base64."""
    event = letter.event
    return {
        "key": None if "key" in event.nulls else readable(b64decode(event.record_key), EXCERPT),
        "headers": {name: readable(b64decode(text), HEADER_EXCERPT) for name, text in event.record_headers.items()},
        "excerpt": None if "value" in event.nulls else readable(b64decode(event.record_value), EXCERPT),
        "record_value": event.record_value,
    }


def _show_list(letters: list[Letter], shown: list[Letter]) -> None:
    console = Console(highlight=False)
    if not letters:
        console.print("No dead letters.")
        return
    table = Table("id", "arrived", "service", "record", "try", "state", "reason", box=None, pad_edge=False)
    for letter in shown:
        event = letter.event
        table.add_row(
            str(event.id)[:8],
            f"{letter.at:%Y-%m-%d %H:%M:%S}",
            event.service,
            f"{event.topic} {event.partition}@{event.offset}",
            str(event.attempt),
            letter.state,
            readable(event.reason.encode(), 160),
        )
    console.print(table, markup=False)
    console.print(f"\n{len(letters)} in all, {sum(x.state == 'open' for x in letters)} open. By reason:")
    for text, count in by_reason(letters).items():
        console.print(f"{count:>7}  {readable(text.encode(), 160)}", markup=False)


def _show_one(letter: Letter) -> None:
    console, event, content = Console(highlight=False), letter.event, _content(letter)
    lines = {
        "Dead letter": f"{event.id} ({letter.state})",
        "Arrived": f"{letter.at:%Y-%m-%d %H:%M:%S} UTC, attempt {event.attempt}",
        "Service": event.service,
        "Record": f"{event.topic}, partition {event.partition}, offset {event.offset}",
        "Reason": readable(event.reason.encode(), EXCERPT),
        "Retry of": str(event.retry_of or ""),
        "Failed again": str(letter.again or ""),
        "Key": "none" if content["key"] is None else content["key"],
    }
    lines |= {f"  {name}": text for name, text in content["headers"].items()}
    for name, text in lines.items():
        if text:
            console.print(f"{readable(name.encode(), HEADER_EXCERPT):<18} {text}", markup=False)
    for each in letter.retries:
        why = f": {each.why}" if each.why else ""
        console.print(f"{'Retried':<18} {each.time:%Y-%m-%d %H:%M:%S} UTC by {each.who}{why}", markup=False)
    if event.truncated:
        console.print(f"{'Incomplete':<18} the record was too large to keep all of it", markup=False)
    console.print()
    console.print("(no value)" if content["excerpt"] is None else content["excerpt"] or "(empty)", markup=False)
