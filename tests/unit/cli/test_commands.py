"""The command line: help with examples, errors that say what to do, exit codes."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pawl_cli.__main__ import COMMANDS as SECTIONS
from pawl_cli.__main__ import app
from pawl_cli.commands import cluster
from pawl_cli.commands.common import running
from pawl_cli.commands.monitor import monitor_of
from pawl_cli.commands.on_demand import loaded
from pawl_cli.running.data_folder import DataFolder
from pawl_cli.running.note import RunningNote, read_note

runner = CliRunner()
COMMANDS = [
    ["up"],
    ["demo"],
    ["status"],
    ["explain"],
    ["promote"],
    ["rollback"],
    ["pin"],
    ["unpin"],
    ["approve"],
    ["reject"],
    ["retrain"],
    ["pause"],
    ["resume"],
    ["replay"],
    ["backup"],
    ["restore"],
    ["kafka"],
    ["topics", "apply"],
]
COMMANDS += [["model", each] for each in ("init", "check", "show", "apply")]
COMMANDS += [["models", each] for each in ("list", "show")]
COMMANDS += [["policy", "simulate"]]
COMMANDS += [["experiment", each] for each in ("init", "start", "stop", "status")]
COMMANDS += [["review", each] for each in ("list", "show")]
COMMANDS += [["keys", each] for each in ("create", "list", "rotate", "revoke")]
COMMANDS += [["dead-letters", each] for each in ("list", "show", "retry")]


def test_every_command_is_listed_here() -> None:
    known = {name: loaded(place) for section in SECTIONS.values() for name, (place, _) in section.items()}
    listed = {name: [word for first, *inner in COMMANDS if first == name for word in inner] for name in known}
    assert {name: sorted(getattr(command, "commands", [])) for name, command in known.items()} == {
        name: sorted(inner) for name, inner in listed.items()
    }
    assert {first for first, *_ in COMMANDS} == known.keys()


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_an_example(command: list[str]) -> None:
    result = runner.invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    assert f"Example:  pawl {' '.join(command)}" in result.output


def test_help_breaks_its_lines_where_the_terminal_ends() -> None:
    told = runner.invoke(app, ["rollback", "--help"], env={"COLUMNS": "400"}).output
    assert "It is refused where VERSION is not on trial, or champion without a trial, any more." in told


@pytest.mark.parametrize(
    "command",
    [
        ["status"],
        ["replay"],
        ["explain", "x"],
        ["topics", "apply"],
        ["dead-letters", "list"],
        ["model", "show"],
        ["pause"],
        ["promote", "3f9a"],
        ["rollback", "--force"],
        ["models", "list"],
        ["experiment", "status"],
        ["experiment", "stop"],
    ],
    ids=" ".join,
)
def test_without_a_running_pawl_the_error_says_how_to_start_one(command: list[str], tmp_path: Path) -> None:
    result = runner.invoke(app, [*command, "--data", str(tmp_path)])
    assert result.exit_code == 1
    assert "pawl up" in result.output


@pytest.mark.parametrize(
    "command", [["topics", "apply"], ["model", "show"], ["status"], ["rollback", "--force"]], ids=" ".join
)
def test_without_a_running_pawl_the_environment_names_the_cluster(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "LISTENS_SECONDS", 0.2)
    monkeypatch.setenv("PAWL_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    said = " ".join(runner.invoke(app, [*command, "--data", str(tmp_path)]).output.split())
    assert "no Kafka listens at 127.0.0.1:1" in said
    assert "PAWL_KAFKA_BOOTSTRAP_SERVERS" in said


def test_of_services_apart_the_environment_says_where_monitor_and_artifacts_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAWL_KAFKA_BOOTSTRAP_SERVERS", "kafka-1:9092")
    assert monitor_of(running(tmp_path), tmp_path).url == "http://127.0.0.1:8080"
    monkeypatch.setenv("PAWL_MONITOR_URL", "https://monitor.example/")
    monkeypatch.setenv("PAWL_ARTIFACT_URL", "s3://bucket/pawl")
    assert monitor_of(running(tmp_path), tmp_path).url == "https://monitor.example"
    assert running(tmp_path).environment == {"PAWL_ARTIFACT_URL": "s3://bucket/pawl"}
    with DataFolder(tmp_path) as folder:
        folder.write_note(RunningNote(7, "127.0.0.1:1", {"monitor": "http://127.0.0.1:2"}))
        assert running(tmp_path).kafka == "127.0.0.1:1", "what runs in the folder comes first"
        assert monitor_of(running(tmp_path), tmp_path).url == "http://127.0.0.1:2"


def test_a_policy_is_written_checked_and_refused_without_anything_running(tmp_path: Path) -> None:
    file = tmp_path / "model.yaml"
    assert runner.invoke(app, ["model", "init", str(file), "--model", "shop/bot"]).exit_code == 0
    result = runner.invoke(app, ["model", "check", str(file), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["model"] == "shop/bot"
    result = runner.invoke(app, ["model", "init", str(file)])
    assert result.exit_code == 1
    assert "--force" in result.output
    file.write_text("canary:\n  share: 3\n")
    result = runner.invoke(app, ["model", "check", str(file)])
    assert result.exit_code == 1
    assert "model.yaml:2: canary.share" in result.output.replace("\n", "")


def test_two_controls_at_once_are_refused() -> None:
    result = runner.invoke(app, ["demo", "--no-shift", "--bad-data"])
    assert result.exit_code == 2
    assert "choose one" in " ".join(result.output.replace("│", " ").split())


def test_the_note_of_a_running_pawl_is_there_while_it_runs_and_survives_damage(tmp_path: Path) -> None:
    with DataFolder(tmp_path) as folder:
        folder.write_note(RunningNote(pid=7, kafka="127.0.0.1:1", urls={"monitor": "http://127.0.0.1:2"}))
        note = read_note(tmp_path)
        assert note is not None
        assert note.urls["monitor"] == "http://127.0.0.1:2"
    assert read_note(tmp_path) is None
    (tmp_path / "running.json").write_text(json.dumps({"pid": 1, "surprise": True}))
    assert read_note(tmp_path) is None


def test_what_all_commands_to_the_loop_have_in_common_is_an_option_of_each() -> None:
    common = {"--why", "--who", "--data", "--kafka-bootstrap-servers", "--json"}
    for words, more in {
        "retrain": {"--model", "--recipe"}, "pause": {"--model"}, "resume": {"--model"},
        "unpin": {"--model", "--wait"}, "pin": {"--model", "--wait"},
        "promote": {"--model", "--wait"}, "approve": {"--model", "--wait"}, "reject": {"--model", "--wait"},
        "rollback": {"--model", "--wait", "--force"}, "experiment stop": {"--model", "--wait"},
        "experiment start": {"--wait"}, "model apply": set(),
    }.items():  # fmt: skip
        first, *inner = words.split()
        command = loaded(next(section[first][0] for section in SECTIONS.values() if first in section))
        for word in inner:
            command = command.commands[word]
        options = {name for option in command.params for name in option.opts if name.startswith("--")}
        assert options == common | more, words
