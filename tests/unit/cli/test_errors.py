"""What goes wrong outside of Pawl's own rules: a sentence that says where, and what to do about it."""

import json
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from support.samples import MODEL, envelope
from typer.testing import CliRunner

from pawl_cli.__main__ import app
from pawl_cli.commands import asked, cluster, deployment, model, models
from pawl_cli.log import policies
from pawl_shared import events as e
from pawl_shared.buses.memory_bus import MemoryBus
from pawl_shared.codec import encode
from pawl_shared.errors import BusError
from pawl_shared.topics import TOPICS


def pawl(*words: str, status: int = 1) -> str:
    """What it says, on one line."""
    result = CliRunner().invoke(app, [*words])
    assert result.exit_code == status, result.output
    return " ".join(result.output.split())


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> MemoryBus:
    """On which one model is registered, and nothing is deployed."""
    made = MemoryBus()
    made.create_topics(TOPICS)
    made.producer("test").send(encode(e.RegisterModelCommand(**envelope(1), model=MODEL, base="tiny", who="ada")))
    for module in (asked, models, model):
        monkeypatch.setattr(module, "bus_at", lambda *_: made)
    return made


@pytest.mark.parametrize("servers", ["127.0.0.1:1", "127.0.0.1:1,[::1]:1", "nonsense"])
def test_without_a_broker_it_is_told_where_none_listens(servers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "LISTENS_SECONDS", 0.2)
    said = pawl("rollback", "--kafka-bootstrap-servers", servers)
    assert said == f"pawl: no Kafka listens at {servers}: check --kafka-bootstrap-servers (host:port)"


def test_a_pawl_that_was_killed_is_one_to_start_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "LISTENS_SECONDS", 0.2)
    (tmp_path / "running.json").write_text(json.dumps({"pid": 7, "kafka": "127.0.0.1:1"}))
    said = pawl("rollback", "--force", "--data", str(tmp_path))
    assert "no Kafka listens at 127.0.0.1:1" in said
    assert "`pawl up` starts it again" in said


def test_a_folder_that_may_not_be_read_is_not_taken_for_one_where_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_text", refused)
    said = pawl("status", "--data", str(tmp_path))
    assert "you may not read" in said
    assert "no Pawl runs" not in said


def test_a_folder_where_nothing_can_be_kept_is_an_error_with_advice(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for command in ("up", "kafka"):
        said = pawl(command, "--data", str(tmp_path / "file" / "data"))
        assert "Not a directory" in said
        assert "choose another folder with --data" in said


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    said = pawl("model", "init", str(tmp_path / "nowhere" / "model.yaml"))
    assert "No such file or directory" in said
    assert "model.yaml" in "".join(said.split())  # a long path goes on in the next line


@pytest.mark.parametrize("command", ["pause", "resume", "retrain", "models list"])
def test_a_model_that_nobody_knows_is_answered_with_those_that_there_are(command: str, bus: MemoryBus) -> None:
    assert f"nothing is known of a/b: --model may be {MODEL}" in pawl(*command.split(), "--model", "a/b")
    assert len([record for record in bus.read("pawl.commands") if record]) == 1


@pytest.mark.parametrize("words", ["", "--history"])
def test_the_defaults_of_a_model_that_nobody_knows_say_so(words: str, bus: MemoryBus) -> None:
    asked_for = ["model", "show", *words.split(), "--model"]
    assert "nothing is known of a/b yet: Pawl's defaults" in pawl(*asked_for, "a/b", status=0)
    assert "nothing was applied: Pawl's defaults" in pawl(*asked_for, MODEL, status=0)


def test_a_model_that_has_no_version_yet_is_known(bus: MemoryBus) -> None:
    assert f"{MODEL} has no versions yet" in pawl("models", "list", "--model", MODEL)


@pytest.mark.parametrize("command", ["unpin", "experiment stop", "rollback"])
def test_what_is_not_deployed_is_refused_before_anybody_is_waited_for(command: str, bus: MemoryBus) -> None:
    assert "nothing is deployed as a/b" in pawl(*command.split(), "--model", "a/b")


def test_who_interrupts_is_told_that_the_command_may_be_carried_out(
    bus: MemoryBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt("SIGINT")

    monkeypatch.setattr(deployment.outcome, "carried_out", interrupted)
    monkeypatch.setattr(deployment, "deployed", lambda *_: None)
    said = pawl("unpin", status=130)
    assert "stopped by SIGINT; the command may be on the log already" in said


def test_a_broker_that_confirms_nothing_is_an_error_and_the_client_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []

    class Silent:
        def send(self, message: Any) -> Future[Any]:
            return Future()

        def close(self) -> None:
            closed.append(True)

    class SilentBus(MemoryBus):
        def producer(self, name: str) -> Any:
            return Silent()

    monkeypatch.setattr(policies, "WAIT_SECONDS", 0)
    command = e.PauseCommand(**envelope(2), model=MODEL, who="ada")
    with pytest.raises(BusError, match=r"has not confirmed the pawl\.command\.pause"):
        policies.publish(SilentBus(), command)
    assert closed
