"""A folder that is no serving graph, and one that cannot be read just now: the first is refused for good."""

import errno
from pathlib import Path

import pytest
from support.tiny_engine import toy_spec

from pawl_shared.errors import BaseModelError
from pawl_shared.models.graph_spec import SPEC_FILE, read_spec, write_spec


def test_a_folder_that_cannot_be_read_just_now_is_not_called_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_spec(tmp_path, toy_spec())
    assert read_spec(tmp_path) == toy_spec()

    def fails(*_: object, **__: object) -> str:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_text", fails)
        with pytest.raises(OSError, match="Too many open files"):
            read_spec(tmp_path)
    (tmp_path / SPEC_FILE).write_text("{}")
    with pytest.raises(BaseModelError, match="no serving graph"):
        read_spec(tmp_path)
    (tmp_path / SPEC_FILE).unlink()
    with pytest.raises(BaseModelError, match="no serving graph"):
        read_spec(tmp_path)
