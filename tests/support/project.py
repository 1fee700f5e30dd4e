"""The project seen from outside: its declared dependencies, its lock, its files."""

import os
import shutil
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
IN_CI = os.environ.get("CI") == "true"


@cache
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


EXTRAS = tuple(pyproject()["project"]["optional-dependencies"])


def declared() -> dict[str, list[Requirement]]:
    """Direct requirements by group: "" for what every service needs, an extra, or "dev"."""
    project = pyproject()["project"]
    groups = {"": project["dependencies"], **project["optional-dependencies"], **pyproject()["dependency-groups"]}
    return {name: [Requirement(line) for line in lines] for name, lines in groups.items()}


def locked() -> dict[str, str]:
    """Version by canonical name."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = [Requirement(line.rstrip("\\").strip()) for line in lines if line[:1].isalnum()]
    return {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in pins}


def tracked_files() -> list[Path]:
    """What is committed or about to be."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [path for line in listing.stdout.splitlines() if (path := ROOT / line).is_file()]


def uv() -> str | None:
    """The uv that `make setup` uses."""
    own = ROOT / ".uv" / "bin" / "uv"
    return str(own) if own.exists() else shutil.which("uv")
