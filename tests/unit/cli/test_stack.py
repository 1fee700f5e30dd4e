"""What `pawl up` refuses before it starts anything."""

from pathlib import Path

import pytest

from pawl_cli.commands.up import wanted
from pawl_cli.model_file import WatchedFile
from pawl_cli.running.stack import Options, StackError, Wanted, running
from pawl_shared.errors import ConfigurationError


def test_security_is_for_a_cluster_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAWL_KAFKA_SECURITY_PROTOCOL", "SSL")
    with (
        pytest.raises(StackError, match="name it with --kafka-bootstrap-servers"),
        running(Options(tmp_path), lambda *_: None),
    ):
        pass


def policy(folder: Path, name: str, model: str) -> WatchedFile:
    path = folder / name
    path.write_text(f"model: {model}\n", encoding="utf-8")
    return WatchedFile(path)


def test_models_are_those_that_are_named_by_themselves_or_by_their_policies(tmp_path: Path) -> None:
    shop, draft = policy(tmp_path, "shop.yaml", "acme/shop"), policy(tmp_path, "draft.yaml", "acme/draft")
    assert wanted((), ()) == (Wanted("default/assistant"),)
    assert wanted(("acme/shop", "acme/other"), (shop, draft)) == (
        Wanted("acme/shop", shop.policy),
        Wanted("acme/draft", draft.policy),
        Wanted("acme/other"),
    )
    with pytest.raises(ConfigurationError, match="a policy already"):
        wanted((), (shop, policy(tmp_path, "again.yaml", "acme/shop")))
    with pytest.raises(ConfigurationError, match="tenant/name"):
        wanted(("shop",), ())
