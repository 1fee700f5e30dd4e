"""What the README promises: its commands exist, and its example runs as it stands."""

import re
from pathlib import Path

import pytest
from support.http_service import serving
from support.inference import World
from support.project import ROOT

from pawl_cli.running.ports import any_free
from pawl_shared.topics import FEEDBACK

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_the_two_commands_come_first_and_exist() -> None:
    commands = [line.split("#")[0].split() for line in blocks("sh")[0].splitlines()]
    assert commands == [["make", "demo"], ["make", "test"]]
    makefile = (ROOT / "Makefile").read_text()
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for _, target in commands)


def test_the_example_asks_and_gives_feedback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = blocks("python")
    world = World(tmp_path)
    world.deploy(1)
    port = any_free()
    with serving(world.build(http_port=port), port) as url:
        address = re.compile(r'^PAWL = "[^"]*"', re.MULTILINE)
        assert address.search(example)
        exec(compile(address.sub(f'PAWL = "{url}"', example), "README.md", "exec"), {})
    assert capsys.readouterr().out.strip()
    assert {event.kind for event in world.read(FEEDBACK)} == {"thumb", "correction"}
