"""Keeps pandas out of the monitor's process.

pyarrow and DuckDB import it, where it is installed (the trainer's data sets bring it), at the first list or parameter
that they are given, only to ask whether that is a data frame. Nobody gives them one, and it takes 1.2 s of a restart.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType


class _Missing:
    """A finder for which there is no pandas, which is what both libraries expect where it is not installed."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.partition(".")[0] == "pandas":
            raise ModuleNotFoundError("pandas is kept out of the monitor", name=name)
        return None


def leave_out() -> None:
    """From now on importing pandas fails in this process."""
    sys.meta_path.insert(0, _Missing())
