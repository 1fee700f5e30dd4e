"""What `pawl up` refuses before it starts anything."""

from pathlib import Path

import pytest

from pawl_cli.stack import Options, StackError, running


def test_security_is_for_a_cluster_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAWL_KAFKA_SECURITY_PROTOCOL", "SSL")
    with (
        pytest.raises(StackError, match="name it with --kafka-bootstrap-servers"),
        running(Options(tmp_path), lambda *_: None),
    ):
        pass
