"""Replays of the services, each in a process of its own: the services know how they decide, this package does not."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pawl_shared.errors import PawlError

SERVICES = ("monitor", "validator")
MODULE = "pawl_{}.replay"

Progress = Callable[[str, int], None]


class ReplayError(PawlError):
    """A replay could not be done; the message says of which service and why."""


def run(
    service: str,
    environment: Mapping[str, str],
    progress: Progress,
    module: str = "",
    arguments: Sequence[str] = (),
    failed: str = "the {} cannot read the log again",
) -> dict[str, Any]:
    """The report of one service's replay, or of another module of it that reads the log. Raises ReplayError.

    Args:
        environment: PAWL_* settings, the same as those under which the decisions were made.
        progress: told the service and how many records it has read.
        failed: what the error begins with.
    """
    command = [sys.executable, "-m", (module or MODULE).format(service), *arguments]
    child = subprocess.Popen(  # noqa: S603 - our own module
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    report: dict[str, Any] = {}
    try:
        for line in _lines(child):
            if line.keys() == {"service", "records"}:
                progress(service, line["records"])
            else:
                report = line
        _, errors = child.communicate()
    finally:
        child.kill()
    if not report or "error" in report:
        said = errors.strip().splitlines()[-1:] or [f"it ended with status {child.returncode}"]
        if said[0].startswith("ModuleNotFoundError"):
            said = [f"{said[0]}: install Pawl's extra `{service}` here, too"]
        raise ReplayError(f"{failed.format(service)}: {report.get('error', said[0])}")
    return report


def _lines(child: "subprocess.Popen[str]") -> Iterator[dict[str, Any]]:
    assert child.stdout is not None, "it was asked for"
    for line in child.stdout:
        if line.startswith("{"):
            yield json.loads(line)


def lines_of(report: dict[str, Any]) -> Iterator[str]:
    """A report, for people."""
    decisions = ", ".join(f"{count:,} {kind}" for kind, count in report["decisions"].items() if count)
    verdict = "the same" if report["same"] else f"{report['different']} DIFFERENT"
    yield f"{report['service']:<10} {report['records']:,} records; {decisions or 'no decisions'}: {verdict}"
    for difference in report["differences"]:
        yield f"  {difference['type']} {difference['id']}: {difference['what']}"
        for name, on_log, again in difference["fields"]:
            yield f"    {name}: on the log {on_log!r}, in the replay {again!r}"
    for new in report["new"]:
        yield (
            f"  {new['type']} {new['field']}: new since this log was written; "
            f"{new['decisions']:,} decisions have a value there now"
        )
    for note in report["notes"]:
        yield f"  {note}"
    if len(report["differences"]) < report["different"]:
        yield f"  and {report['different'] - len(report['differences'])} more"
