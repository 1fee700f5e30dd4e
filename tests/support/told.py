"""A logger that remembers, whatever an earlier test in the process made of the logs: some run a service's own main."""

from typing import Any


class Told:
    """`lines`: the event and the fields of each."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def info(self, event: str, **fields: Any) -> None:
        self.lines.append({"event": event, **fields})

    warning = info
