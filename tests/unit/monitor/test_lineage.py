"""What is asked for as a data set, and is none."""

from pathlib import Path
from typing import Any

import pytest

from pawl_monitor.views.lineage import Lineage
from pawl_shared.artifacts import ArtifactStore


@pytest.mark.parametrize("what", ["folder", "file", "..", "0" * 64])
def test_what_is_no_data_set_is_told_as_a_problem(tmp_path: Path, what: str) -> None:
    store = ArtifactStore(f"file://{tmp_path / 'store'}", tmp_path / "cache")
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text("{}")
    digest = {"folder": store.put_folder(tmp_path / "base"), "file": store.put_bytes(b"\0 weights")}.get(what, what)
    nothing: Any = None  # no database and no text is asked for
    assert Lineage(nothing, store, nothing).dataset(digest).keys() == {"digest", "problem"}
