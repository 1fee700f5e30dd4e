import stat
from pathlib import Path

import pytest
from pydantic import SecretStr
from support.told import Told

from pawl_shared import logging
from pawl_shared.errors import ConfigurationError
from pawl_shared.secret_files import from_hex, given_or_made, load_or_create


def test_a_key_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "feedback-token.key"
    key = load_or_create(path)
    assert len(key) == 32
    assert load_or_create(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]
    assert load_or_create(tmp_path / "keys" / "other.key") != key


def test_a_key_that_others_need_is_told_when_it_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, told = tmp_path / "keys" / "feedback-token.key", Told()
    monkeypatch.setattr(logging, "get", lambda _: told)
    given_or_made(SecretStr("00" * 32), path, "PAWL_TOKEN_KEY")
    made = given_or_made(None, path, "PAWL_TOKEN_KEY")
    assert given_or_made(None, path, "PAWL_TOKEN_KEY") == made
    [line] = told.lines
    assert (line["file"], line["setting"]) == (str(path), "PAWL_TOKEN_KEY")


@pytest.mark.parametrize("text", ["", "not hex", "00" * 31])
def test_what_is_no_key_is_refused_with_advice(text: str) -> None:
    with pytest.raises(ConfigurationError, match="openssl rand -hex 32"):
        from_hex(text, "PAWL_TOKEN_KEY")
