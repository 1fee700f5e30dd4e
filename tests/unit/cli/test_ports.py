"""Ports: the ones of last time, else the wanted ones, else any free one; never one twice."""

import errno
import json
import socket
import sys
from pathlib import Path

import pytest

from pawl_cli.running import ports
from pawl_shared.errors import ConfigurationError


def occupied() -> socket.socket:
    held = socket.socket()
    held.bind((ports.HOST, 0))
    held.listen()
    return held


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("192.0.2.7", "http://192.0.2.7:8000"),
        ("pawl.example", "http://pawl.example:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("2001:db8::7", "http://[2001:db8::7]:8000"),
    ],
)
def test_a_service_is_asked_where_it_listens(host: str, url: str) -> None:
    assert ports.url(host, 8000) == url


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8")
def test_a_port_is_free_where_it_is_to_be_used(tmp_path: Path) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.2", 0))
        held.listen()
        taken = held.getsockname()[1]
        assert ports.choose(tmp_path / "one.json", {"a": taken}, "127.0.0.2")["a"] != taken
    with pytest.raises(ConfigurationError, match="PAWL_HTTP_HOST has to be an address of this machine"):
        ports.choose(tmp_path / "two.json", {"a": 0}, "192.0.2.7")


def test_ports_are_remembered(tmp_path: Path) -> None:
    first = ports.choose(tmp_path / "ports.json", {"a": 0, "b": 0})
    assert ports.choose(tmp_path / "ports.json", {"a": 0, "b": 0}) == first
    assert first["a"] != first["b"]


def test_a_taken_port_is_replaced_and_the_others_stay(tmp_path: Path) -> None:
    memory = tmp_path / "ports.json"
    first = ports.choose(memory, {"a": 0, "b": 0})
    with socket.socket() as held:
        held.bind((ports.HOST, first["a"]))
        held.listen()
        second = ports.choose(memory, {"a": 0, "b": 0})
    assert second["a"] != first["a"]
    assert second["b"] == first["b"]


def test_a_wish_is_met_when_it_is_free(tmp_path: Path) -> None:
    with occupied() as held:
        taken = held.getsockname()[1]
        assert ports.choose(tmp_path / "one.json", {"a": taken})["a"] != taken
    free = ports.any_free()
    assert ports.choose(tmp_path / "two.json", {"a": free})["a"] == free


def test_two_names_with_one_wish_get_two_ports_and_a_damaged_memory_is_no_obstacle(tmp_path: Path) -> None:
    memory = tmp_path / "ports.json"
    memory.write_text(json.dumps(["not", "a", "mapping"]))
    wish = ports.any_free()
    chosen = ports.choose(memory, {"a": wish, "b": wish})
    assert chosen["a"] == wish != chosen["b"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has names that go with their process")
def test_what_another_stack_has_chosen_is_not_chosen_before_it_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wish = ports.any_free()
    with monkeypatch.context() as another_process:
        another_process.setattr(ports, "_claims", {})
        assert ports.choose(tmp_path / "ports.json", {"a": wish})["a"] != wish
    assert ports.choose(tmp_path / "other.json", {"a": wish})["a"] == wish


@pytest.mark.parametrize("system", [sys.platform, "darwin"])
def test_a_free_port_is_chosen_once(monkeypatch: pytest.MonkeyPatch, system: str) -> None:
    monkeypatch.setattr(ports.sys, "platform", system)
    monkeypatch.setattr(ports, "_claims", {})
    monkeypatch.setattr(ports, "FREE", range(ports.FREE.start, ports.FREE.start + 200))
    chosen = [ports.any_free() for _ in range(20)]
    assert len(set(chosen)) == 20
    assert set(chosen) <= set(ports.FREE)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has names that go with their process")
def test_what_keeps_a_port_from_being_claimed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> socket.socket:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(ports, "_claimed", refused)
    with pytest.raises(OSError, match="Too many open files"):
        ports.any_free()


def test_when_no_port_is_free_it_says_which_were_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with occupied() as held:
        taken = held.getsockname()[1]
        monkeypatch.setattr(ports, "FREE", range(taken, taken + 1))
        with pytest.raises(ConfigurationError, match=f"no port of 127.0.0.1 from {taken} to {taken} is free"):
            ports.any_free()
