"""Ports of this machine: free ones, and the ones of last time when they are still free."""

import json
import socket
from collections.abc import Mapping
from pathlib import Path

HOST = "127.0.0.1"


def choose(memory: Path, wanted: Mapping[str, int]) -> dict[str, int]:
    """A free port for each name, remembered in `memory`.

    In this order: the port of last time, the wanted one (0: no wish), any free one. A name that was never seen gets
    its wish; a damaged memory counts as none.
    """
    try:
        remembered = {str(name): int(port) for name, port in json.loads(memory.read_text()).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        remembered = {}
    chosen: dict[str, int] = {}
    for name, wish in wanted.items():
        candidates = (remembered.get(name, 0), wish)
        taken = set(chosen.values())
        kept = next((port for port in candidates if port and port not in taken and is_free(port)), None)
        chosen[name] = kept or _any_but(taken)
    memory.parent.mkdir(parents=True, exist_ok=True)
    memory.write_text(json.dumps(remembered | chosen))
    return chosen


def is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # TIME_WAIT of the last run does not count
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _any_but(taken: set[int]) -> int:
    while True:
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port = int(probe.getsockname()[1])
        if port not in taken:
            return port
