"""Ports: the ones of last time, else the wanted ones, else any free one; never one twice."""

import json
import socket
import sys
from pathlib import Path

import pytest

from pawl_cli import ports


def occupied() -> socket.socket:
    held = socket.socket()
    held.bind((ports.HOST, 0))
    held.listen()
    return held


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
    assert ports.choose(tmp_path / "two.json", {"a": taken})["a"] == taken


def test_two_names_with_one_wish_get_two_ports_and_a_damaged_memory_is_no_obstacle(tmp_path: Path) -> None:
    memory = tmp_path / "ports.json"
    memory.write_text(json.dumps(["not", "a", "mapping"]))
    with occupied() as held:
        wish = held.getsockname()[1]
    chosen = ports.choose(memory, {"a": wish, "b": wish})
    assert chosen["a"] == wish != chosen["b"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has names that go with their process")
def test_what_another_stack_has_chosen_is_not_chosen_before_it_listens(tmp_path: Path) -> None:
    with occupied() as held:
        wish = held.getsockname()[1]
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(ports.claim_of(wish))
        assert ports.choose(tmp_path / "ports.json", {"a": wish})["a"] != wish
    assert ports.choose(tmp_path / "other.json", {"a": wish})["a"] == wish
