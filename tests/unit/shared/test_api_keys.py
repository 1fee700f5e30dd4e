"""API keys: their form, what is kept, what opens what; and the file of them, read again when it changes."""

import json
import stat
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest
import structlog
from pydantic import ValidationError
from structlog.testing import LogCapture
from support.api_keys import a_key, revoke

from pawl_shared.access import service
from pawl_shared.access.api_key_file import KeyFile, load, save
from pawl_shared.access.api_keys import (
    ApiKey,
    ApiKeys,
    Scope,
    Secret,
    WrongKeyError,
    digest_of,
    id_of,
    key_of,
    new_text,
)
from pawl_shared.access.service import Access, AccessRefusedError, Place
from pawl_shared.clock import ManualClock
from pawl_shared.errors import ApiKeysUnreadableError
from pawl_shared.metrics import ACCESS_REFUSED
from pawl_shared.settings import PawlSettings

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HERE = Place("/v1/x", "10.0.0.1")


def kept(text: str, *scopes: Scope, name: str = "shop", **others: object) -> ApiKey:
    secrets = (Secret(sha256=digest_of(text)),)
    return ApiKey(id=id_of(text) or "", name=name, scopes=scopes, created=NOW, secrets=secrets, **others)


def test_a_key_names_itself_and_a_slip_of_the_hand_is_seen() -> None:
    text = new_text(Random(1))
    assert text == new_text(Random(1)) != new_text(Random(2))
    prefix, identity, secret = text.split("_")
    assert (prefix, len(identity), len(secret)) == ("pawl", 8, 38)
    assert id_of(text) == identity
    assert id_of(new_text(Random(3), identity)) == identity
    for place in range(len("pawl_"), len(text)):
        other = "1" if text[place] != "1" else "2"
        assert id_of(text[:place] + other + text[place + 1 :]) is None
    for wrong in (
        "",
        "pawl_",
        text[:-1],
        text + "a",
        text.upper(),
        f" {text}",
        "sk-123",
        "pawl_ä",
        text.replace("_", "-"),
    ):
        assert id_of(wrong) is None


def test_a_key_is_found_by_its_secret_and_nothing_else() -> None:
    text = new_text(Random(1))
    key = kept(text, "infer")
    keys = {key.id: key}
    assert key_of(keys, text, NOW) == key
    for wrong, reason in (
        ("none", "malformed"),
        (new_text(Random(2)), "unknown"),
        (new_text(Random(2), key.id), "unknown"),
    ):
        with pytest.raises(WrongKeyError, match=reason):
            key_of(keys, wrong, NOW)


def test_an_expired_key_opens_nothing() -> None:
    text = new_text(Random(1))
    key = kept(text, "infer", expires=NOW + timedelta(days=1))
    assert key_of({key.id: key}, text, NOW + timedelta(hours=23)) == key
    with pytest.raises(WrongKeyError, match="expired"):
        key_of({key.id: key}, text, NOW + timedelta(days=1))


def test_a_rotated_key_opens_with_both_secrets_until_the_grace_is_over() -> None:
    first, second, third = new_text(Random(1)), *(new_text(Random(n), id_of(new_text(Random(1)))) for n in (2, 3))
    key = kept(first, "infer").rotated(digest_of(second), NOW, timedelta(hours=1))
    assert key_of({key.id: key}, first, NOW) == key_of({key.id: key}, second, NOW) == key
    with pytest.raises(WrongKeyError):
        key_of({key.id: key}, first, NOW + timedelta(hours=1))
    again = key.rotated(digest_of(third), NOW, timedelta(hours=1))
    for text, opens in ((first, False), (second, True), (third, True)):
        try:
            assert key_of({key.id: again}, text, NOW) == again
        except WrongKeyError:
            assert not opens
    at_once = kept(first, "infer").rotated(digest_of(second), NOW, timedelta(0))
    assert len(at_once.secrets) == 1


@pytest.mark.parametrize(
    ("scopes", "opened"),
    [
        (("infer",), {"infer"}),
        (("ops",), {"ops"}),
        (("admin",), {"admin", "ops"}),
        (("feedback", "infer"), {"feedback", "infer"}),
    ],
)
def test_scopes_open_what_they_say_and_admin_looks_too(scopes: tuple[Scope, ...], opened: set[Scope]) -> None:
    key = kept(new_text(Random(1)), *scopes)
    asked: tuple[Scope, ...] = ("infer", "feedback", "ops", "admin")
    assert {scope for scope in asked if key.opens(scope)} == opened


def test_two_keys_are_told_apart() -> None:
    first, second = kept(new_text(Random(1)), "infer"), kept(new_text(Random(2)), "ops")
    with pytest.raises(ValidationError, match="two keys have the name 'shop'"):
        ApiKeys(keys=(first, second))
    assert ApiKeys(keys=(first,)).with_key(second).keys == (second,)


# ---------------------------------------------------------------- the file


def test_the_file_holds_hashes_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "api.keys"
    text = a_key(path, "infer")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert text.rpartition("_")[2] not in path.read_text()
    assert digest_of(text) in path.read_text()
    assert [each.name for each in path.parent.iterdir()] == ["api.keys"]


def test_a_change_of_the_file_is_seen_at_the_next_question(tmp_path: Path) -> None:
    path = tmp_path / "api.keys"
    file = KeyFile(path)
    assert file.keys() is None
    one = a_key(path, "infer")
    assert set(file.keys() or ()) == {id_of(one)}
    two = a_key(path, "ops")
    assert set(file.keys() or ()) == {id_of(one), id_of(two)}
    revoke(path, one)
    assert set(file.keys() or ()) == {id_of(two)}
    revoke(path, two)
    assert file.keys() == {}


def test_what_a_cluster_mounts_changes_behind_a_link(tmp_path: Path) -> None:
    for version in ("1", "2"):
        a_key(tmp_path / version / "api.keys", "infer", name=version)
    (tmp_path / "data").symlink_to(tmp_path / "1")
    (tmp_path / "api.keys").symlink_to("data/api.keys")
    file = KeyFile(tmp_path / "api.keys")
    assert [key.name for key in (file.keys() or {}).values()] == ["1"]
    (tmp_path / "new").symlink_to(tmp_path / "2")
    (tmp_path / "new").replace(tmp_path / "data")
    assert [key.name for key in (file.keys() or {}).values()] == ["2"]


@pytest.mark.parametrize(
    ("content", "said"),
    [("{", "the file"), ('{"keys": [{}]}', "keys.0.id"), ('{"keys": [], "more": 1}', "more"), ("[]", "the file")],
)
def test_a_damaged_file_lets_nobody_in(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "api.keys"
    file = KeyFile(path)
    a_key(path, "infer")
    assert file.keys()
    path.write_text(content)
    for _ in range(2):
        with pytest.raises(ApiKeysUnreadableError, match=said):
            file.keys()
    save(path, ApiKeys())
    assert file.keys() == {}


@pytest.mark.parametrize("content", ['{"keys": []}', "damaged"])
def test_a_file_that_goes_away_does_not_let_everybody_in(tmp_path: Path, content: str) -> None:
    path = tmp_path / "api.keys"
    file = KeyFile(path)
    path.write_text(content)
    with suppress(ApiKeysUnreadableError):
        assert file.keys() == {}
    path.unlink()
    with pytest.raises(ApiKeysUnreadableError, match="put it back"):
        file.keys()


def test_whoever_listens_beyond_this_machine_asks_for_keys_though_there_is_no_file(tmp_path: Path) -> None:
    settings = PawlSettings(data_dir=tmp_path, http_host="10.0.0.1")
    with pytest.raises(AccessRefusedError, match="lets nobody in"):
        Access.of(settings, "test").admit(None, "infer", HERE)


def test_a_file_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "api.keys").mkdir()
    with pytest.raises(ApiKeysUnreadableError, match="cannot be read"):
        load(tmp_path / "api.keys")


# ---------------------------------------------------------------- who may ask for what


class Door:
    """Access with a clock that tests move, and the file behind it."""

    def __init__(self, folder: Path) -> None:
        self.path, self.clock = folder / "api.keys", ManualClock(NOW)
        self.access = Access(KeyFile(self.path), "test", self.clock)

    def refused(self, text: str | None, scope: Scope = "infer") -> AccessRefusedError:
        with pytest.raises(AccessRefusedError) as refused:
            self.access.admit(text, scope, HERE)
        return refused.value


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path)


def test_without_a_file_nothing_is_asked_for(door: Door) -> None:
    assert not door.access.required
    assert door.access.admit(None, "admin", HERE) is None
    assert door.access.admit("Bearer none", "admin", HERE) is None
    assert door.access.tells(None)


def test_with_a_file_a_key_with_the_scope_is_needed(door: Door) -> None:
    text = a_key(door.path, "infer", name="shop")
    assert door.access.required
    for header in (f"Bearer {text}", f"bearer   {text} "):
        found = door.access.admit(header, "infer", HERE)
        assert found
        assert found.name == "shop"
    for header, words in ((None, "Missing"), ("", "Missing"), (f"Basic {text}", "Missing"), ("Bearer ", "Missing"),
                          ("Bearer none", "Incorrect"), (f"Bearer {new_text(Random(1))}", "Incorrect")):  # fmt: skip
        refused = door.refused(header)
        assert (refused.status, refused.code) == (401, "invalid_api_key")
        assert refused.message.startswith(words)
        assert refused.headers["WWW-Authenticate"].startswith("Bearer")
        assert text not in str(refused)


def test_a_missing_scope_is_named(door: Door) -> None:
    refused = door.refused(f"Bearer {a_key(door.path, 'infer', 'ops')}", "feedback")
    error = refused.body()["error"]
    assert (refused.status, error["code"], error["param"]) == (403, "missing_scope", None)
    assert "Missing scopes: feedback." in (error["message"] or "")
    assert 'scope="feedback"' in refused.headers["WWW-Authenticate"]


def test_failed_attempts_are_counted_and_lock_nobody_out(door: Door) -> None:
    def count(reason: str) -> float:
        return float(ACCESS_REFUSED.labels("test", reason)._value.get())

    text = a_key(door.path, "infer")
    before = count("unknown"), count("missing"), count("scope")
    for seed in range(50):
        door.refused(f"Bearer {new_text(Random(seed), id_of(text))}")
    door.refused(None)
    door.refused(f"Bearer {text}", "admin")
    assert door.access.admit(f"Bearer {text}", "infer", HERE)
    assert (count("unknown"), count("missing"), count("scope")) == (before[0] + 50, before[1] + 1, before[2] + 1)


def test_revocation_and_rotation_are_valid_from_the_next_request_on(door: Door) -> None:
    first, other = a_key(door.path, "infer", name="shop"), a_key(door.path, "infer", name="other")
    second = new_text(Random(1), id_of(first))
    assert door.access.admit(f"Bearer {first}", "infer", HERE)
    keys = load(door.path)
    rotated = keys.by_id()[id_of(first) or ""].rotated(digest_of(second), NOW, timedelta(hours=1))
    save(door.path, keys.with_key(rotated))
    assert door.access.admit(f"Bearer {first}", "infer", HERE)
    assert door.access.admit(f"Bearer {second}", "infer", HERE)
    door.clock.advance(3600)
    assert door.refused(f"Bearer {first}").status == 401
    assert door.access.admit(f"Bearer {second}", "infer", HERE)
    revoke(door.path, first)
    assert door.refused(f"Bearer {second}").status == 401
    assert door.access.admit(f"Bearer {other}", "infer", HERE)


def test_keys_that_cannot_be_read_are_the_server_s_trouble(door: Door) -> None:
    text = a_key(door.path, "infer", "ops")
    door.path.write_text("x")
    refused = door.refused(f"Bearer {text}")
    assert (refused.status, refused.code, refused.type) == (503, "api_keys_unreadable", "server_error")
    assert door.access.required
    assert not door.access.tells(f"Bearer {text}")
    assert str(door.path) not in refused.message


def test_what_is_written_can_be_read_by_other_tools(tmp_path: Path) -> None:
    path = tmp_path / "api.keys"
    a_key(path, "infer", name="shop")
    found = json.loads(path.read_bytes())["keys"][0]
    assert set(found) == {"id", "name", "scopes", "created", "secrets"}


def test_the_log_says_who_failed_where_and_never_what_was_shown(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    capture = LogCapture()  # of a logger of its own: what other tests set up, a level among it, is the process's
    monkeypatch.setattr(service, "log", structlog.wrap_logger(None, [capture], wrapper_class=structlog.BoundLogger))
    text = a_key(door.path, "infer")
    door.refused(f"Bearer {text}", "admin")
    door.refused("Bearer sk-another's")
    common = {"event": "access refused", "log_level": "warning", "place": "/v1/x", "client": "10.0.0.1"}
    assert capture.entries == [
        common | {"reason": "scope", "key": id_of(text)},
        common | {"reason": "malformed", "key": None},
    ]
