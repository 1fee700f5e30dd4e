"""`pawl keys`: made, listed, rotated, revoked; and the key of this machine's own commands."""

import json
import stat
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.api_keys import a_key
from typer.testing import CliRunner, Result

from pawl_cli.__main__ import app
from pawl_cli.api_keys import ApiKeyError, KeyStore, for_commands
from pawl_cli.commands.common import keys_file
from pawl_cli.commands.monitor import monitor_of
from pawl_cli.running.data_folder import DataFolder
from pawl_cli.running.note import RunningNote
from pawl_cli.running.stack import Options, Stack
from pawl_shared.access.api_key_file import load, save
from pawl_shared.access.api_keys import SCOPES, key_of
from pawl_shared.clock import SystemClock
from pawl_shared.errors import ConfigurationError

runner = CliRunner()


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PAWL_API_KEY", "PAWL_API_KEYS_FILE", "PAWL_HTTP_HOST"):
        monkeypatch.delenv(name, raising=False)


def keys(data: Path, *command: str) -> Result:
    return runner.invoke(app, ["keys", *command, "--data", str(data)])


def made(data: Path, *command: str) -> dict[str, Any]:
    result = keys(data, *command, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def opens(data: Path, text: str) -> bool:
    try:
        return bool(key_of(load(data / "keys" / "api.keys").by_id(), text, SystemClock().now()))
    except ValueError:
        return False


def test_a_key_is_shown_once_and_kept_as_a_hash(tmp_path: Path) -> None:
    result = keys(tmp_path, "create", "--name", "shop", "--scope", "feedback", "--scope", "infer", "--expires", "90d")
    assert result.exit_code == 0
    text = result.stdout.strip()
    assert opens(tmp_path, text)
    assert "infer, feedback, until" in result.stderr
    listed = keys(tmp_path, "list")
    assert "shop" in listed.stdout
    for shown in (listed.stdout, keys(tmp_path, "list", "--json").stdout, (tmp_path / "keys" / "api.keys").read_text()):
        assert text.rpartition("_")[2] not in shown
    found = json.loads(keys(tmp_path, "list", "--json").stdout)
    assert [(key["name"], key["scopes"], key["status"]) for key in found] == [("shop", ["infer", "feedback"], "valid")]


def test_no_name_is_another_keys_id_and_where_one_was_the_id_counts(tmp_path: Path) -> None:
    shop = made(tmp_path, "create", "--name", "shop", "--scope", "infer")
    refused = keys(tmp_path, "create", "--name", shop["id"], "--scope", "infer")
    assert refused.exit_code == 1
    assert f"'{shop['id']}' is the id of the key 'shop'" in refused.output.replace("\n", " ")
    made(tmp_path, "create", "--name", "other", "--scope", "infer")
    file = tmp_path / "keys" / "api.keys"  # of before names were looked at
    before = load(file)
    named = [key.model_copy(update={"name": shop["id"]}) if key.name == "other" else key for key in before.keys]
    save(file, before.model_copy(update={"keys": tuple(reversed(named))}))
    assert keys(tmp_path, "revoke", shop["id"]).stdout == f"Revoked shop ({shop['id']}).\n"


def test_rotated_and_revoked_by_name_or_id(tmp_path: Path) -> None:
    first = made(tmp_path, "create", "--name", "shop", "--scope", "infer")
    second = made(tmp_path, "rotate", "shop")
    assert opens(tmp_path, first["key"])
    assert opens(tmp_path, second["key"])
    assert second["status"].startswith("rotated")
    third = made(tmp_path, "rotate", first["id"], "--grace", "0s")
    assert [opens(tmp_path, each["key"]) for each in (first, second, third)] == [False, False, True]
    assert keys(tmp_path, "revoke", "shop").stdout == f"Revoked shop ({first['id']}).\n"
    assert not opens(tmp_path, third["key"])
    assert "services let nobody in" in keys(tmp_path, "list").stdout.replace("\n", " ")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["create", "--name", "x", "--scope", "all"], "infer, feedback, ops, admin"),
        (["create", "--name", "there", "--scope", "ops"], "already"),
        (["create", "--name", " x", "--scope", "ops"], "no name for a key"),
        (["create", "--name", "x", "--scope", "ops", "--expires", "soon"], "such as 90d"),
        (["create", "--name", "x", "--scope", "ops", "--expires", "0d"], "opens nothing"),
        (["rotate", "nobody"], "pawl keys list"),
        (["rotate", "there", "--grace", "-1d"], "such as 90d"),
        (["revoke", "nobody"], "no key 'nobody'"),
    ],
)
def test_mistakes_are_told_and_change_nothing(tmp_path: Path, command: list[str], said: str) -> None:
    a_key(tmp_path / "keys" / "api.keys", "infer", name="there")
    before = (tmp_path / "keys" / "api.keys").read_bytes()
    result = keys(tmp_path, *command)
    assert result.exit_code != 0
    assert said in " ".join(result.stderr.split())
    assert (tmp_path / "keys" / "api.keys").read_bytes() == before


def test_a_damaged_file_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "own.keys"
    path.write_text("x")
    result = runner.invoke(app, ["keys", "create", "--name", "x", "--scope", "ops", "--file", str(path)])
    assert result.exit_code == 1
    assert "no file of API keys" in " ".join(result.stderr.split())
    assert path.read_text() == "x"


def test_an_empty_list_says_what_that_means(tmp_path: Path) -> None:
    assert "whoever is on this machine" in keys(tmp_path, "list").stdout.replace("\n", " ")


# ---------------------------------------------------------------- this machine's own commands


def test_no_key_is_made_where_none_is_asked_for(tmp_path: Path) -> None:
    assert for_commands(tmp_path, tmp_path / "keys" / "api.keys") == ""
    assert not (tmp_path / "keys").exists()


def test_commands_have_a_key_of_their_own_and_make_it_anew_when_it_was_taken(tmp_path: Path) -> None:
    file = tmp_path / "keys" / "api.keys"
    shop = a_key(file, "infer", name="shop")
    mine = for_commands(tmp_path, file)
    assert mine == for_commands(tmp_path, file)
    assert stat.S_IMODE((tmp_path / "keys" / "local.key").stat().st_mode) == 0o600
    assert load(file).keys[-1].scopes == SCOPES
    KeyStore(file).revoke("pawl-cli")
    again = for_commands(tmp_path, file)
    assert again != mine
    assert opens(tmp_path, again)
    assert opens(tmp_path, shop)
    assert not opens(tmp_path, mine)


def test_the_demo_is_not_begun_with_a_key_that_would_end_in_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "data" / "keys" / "api.keys"
    wrong, shop = "pawl_none", a_key(file, "infer", name="shop")
    for text, reason in ((shop, "'shop' in PAWL_API_KEY lacks feedback, ops"), (wrong, "is no key of")):
        monkeypatch.setenv("PAWL_API_KEY", text)
        result = runner.invoke(app, ["demo", "--data", str(tmp_path / "data"), "--out", str(tmp_path)])
        assert result.exit_code == 1
        assert reason in " ".join(result.output.split())
    assert for_commands(tmp_path, file) == wrong  # others say by themselves what they may not
    monkeypatch.setenv("PAWL_API_KEY", text := a_key(file, "infer", "feedback", "ops", name="all"))
    assert for_commands(tmp_path, file, ("infer", "feedback", "ops")) == text
    assert not (tmp_path / "data" / "kafka").exists()


def test_a_file_that_cannot_be_changed_asks_for_a_key_of_yours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "mounted" / "api.keys"
    a_key(file, "infer")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pawl_cli.api_keys.save", refuse)
    with pytest.raises(ApiKeyError, match="PAWL_API_KEY"):
        for_commands(tmp_path, file)
    monkeypatch.setenv("PAWL_API_KEY", "mine")
    assert for_commands(tmp_path, file) == "mine"


def test_commands_show_their_key_to_the_monitor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "elsewhere" / "api.keys"
    a_key(file, "infer")
    seen: list[Any] = []

    def get(url: str, **others: Any) -> httpx.Response:
        seen.append(others["headers"])
        return httpx.Response(200, json=[])

    monkeypatch.setattr(httpx, "get", get)
    with DataFolder(tmp_path) as folder:
        note = RunningNote(1, "127.0.0.1:1", {"monitor": "http://m"}, api_keys=str(file))
        folder.write_note(note)
        assert keys_file(tmp_path, None) == file
        monitor_of(note, tmp_path).reviews("a/b")
    assert seen == [{"Authorization": f"Bearer {(tmp_path / 'keys' / 'local.key').read_text().strip()}"}]


def test_up_refuses_to_be_reached_by_others_without_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAWL_HTTP_HOST", "0.0.0.0")
    stack = Stack(Options(tmp_path / "data"))
    try:
        with pytest.raises(ConfigurationError, match="pawl keys create"):
            stack.start(lambda *_: None)
    finally:
        stack.stop()
    assert not (tmp_path / "data").exists()
