"""The monitor of the Pawl that a command is about."""

import os
from pathlib import Path

from pawl_cli import api_keys
from pawl_cli.commands.common import folder_of, keys_file
from pawl_cli.monitor_client import MonitorClient
from pawl_cli.running.note import RunningNote

# Where a monitor listens that was told nothing else.
USUAL = "http://127.0.0.1:8080"


def url_of(note: RunningNote) -> str:
    """Where it listens: of services apart, what PAWL_MONITOR_URL says."""
    return note.urls.get("monitor") or os.environ.get("PAWL_MONITOR_URL") or USUAL


def monitor_of(note: RunningNote, data: Path) -> MonitorClient:
    """Raises ApiKeyError: keys are asked for, and this machine's own commands can have none."""
    return MonitorClient(url_of(note), api_keys.for_commands(folder_of(data), keys_file(data, None)))
