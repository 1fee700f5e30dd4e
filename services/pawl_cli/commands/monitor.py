"""The monitor of the Pawl that a command is about."""

from pathlib import Path

from pawl_cli import api_keys
from pawl_cli.commands.common import folder_of, keys_file
from pawl_cli.monitor_client import MonitorClient
from pawl_cli.running.note import RunningNote


def monitor_of(note: RunningNote, data: Path) -> MonitorClient:
    """Raises ApiKeyError: keys are asked for, and this machine's own commands can have none."""
    return MonitorClient(note.urls["monitor"], api_keys.for_commands(folder_of(data), keys_file(data, None)))
