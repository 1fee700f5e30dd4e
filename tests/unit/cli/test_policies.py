"""What is put on pawl.commands for a model, and what is read back."""

from collections.abc import Callable

import pytest
from support.samples import envelope
from typer.testing import CliRunner, Result

from pawl_cli.__main__ import app
from pawl_cli.commands import asked
from pawl_cli.commands import model as model_commands
from pawl_cli.log import policies
from pawl_cli.log.follow import everything
from pawl_cli.model_file import render
from pawl_shared import events as e
from pawl_shared.buses.memory_bus import MemoryBus
from pawl_shared.codec import encode
from pawl_shared.events import PauseCommand, RegisterModelCommand, RetrainCommand
from pawl_shared.policies.model_policy import Canary, ModelPolicy
from pawl_shared.topics import COMMANDS, TOPICS

MODEL = "default/assistant"


@pytest.fixture
def bus() -> MemoryBus:
    bus = MemoryBus()
    bus.create_topics(TOPICS)
    return bus


@pytest.fixture
def cli(bus: MemoryBus, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    for module in (model_commands, asked):
        monkeypatch.setattr(module, "bus_at", lambda *_: bus)
    return lambda *words: CliRunner().invoke(app, words, env={"COLUMNS": "200"})


def test_a_policy_is_applied_once_and_its_base_asked_for_when_it_is_another(bus: MemoryBus) -> None:
    policy = ModelPolicy(base="smollm2", canary=Canary(share=0.3))
    assert policies.apply(bus, policy, "ada", "first") == policies.Applied(True, "smollm2")
    brought_in(bus)
    assert policies.apply(bus, policy, "ada", "again") == policies.Applied(False, None)
    assert policies.apply(bus, ModelPolicy(), "bob", "") == policies.Applied(True, None), "no base: as it is"
    policies.apply(bus, ModelPolicy(model="shop/bot"), "ada", "")
    known = policies.known(bus, MODEL)
    assert known.base == "smollm2"
    assert [command.who for _, command in known.policies] == ["ada", "bob"]
    assert known.valid is not None
    assert known.valid.policy == ModelPolicy()


def test_a_base_that_was_not_brought_in_is_asked_for_again(bus: MemoryBus) -> None:
    policy = ModelPolicy(base="smollm2")
    policies.apply(bus, policy, "ada", "the hub was away")
    assert policies.apply(bus, policy, "ada", "it is back") == policies.Applied(False, "smollm2")
    assert sum(isinstance(event, RegisterModelCommand) for event in everything(bus, COMMANDS)) == 2


def brought_in(bus: MemoryBus) -> None:
    """The base that was asked for last is registered."""
    asked, digest = policies.known(bus, MODEL).asked, "ab" * 32
    registered = e.ModelRegistered(
        **envelope(7) | {"cause": asked}, model=MODEL, version=digest, kind="base", base=digest, graph=digest
    )
    bus.producer("test").send(encode(registered))


def test_apply_show_and_history_from_the_command_line(
    bus: MemoryBus, cli: Callable[..., Result], tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("policy") / "model.yaml"
    assert "Pawl's defaults are valid" in cli("model", "show").stdout
    file.write_text("canary:\n  share: 0.25\n")
    result = cli("model", "apply", str(file), "--why", "more of it")
    assert result.exit_code == 0, result.output
    assert "canary.share: 0.1 -> 0.25" in result.stdout
    assert "No base is registered" in result.stdout
    assert "nothing is changed" in cli("model", "apply", str(file)).stdout
    shown = cli("model", "show").stdout
    assert "more of it" in shown
    assert render(ModelPolicy(canary=Canary(share=0.25))) in shown
    assert "more of it" in cli("model", "show", "--history").stdout
    file.write_text("canary:\n  share: 25\n")
    assert cli("model", "apply", str(file)).exit_code == 1
    assert len(policies.known(bus, MODEL).policies) == 1, "a file with a mistake changes nothing"


def test_pause_and_resume_say_who_and_why(bus: MemoryBus, cli: Callable[..., Result]) -> None:
    result = cli("pause", "--why", "campaign")
    assert result.exit_code == 1
    assert "--model" in result.output
    policies.apply(bus, ModelPolicy(base="smollm2"), "ada", "")
    assert cli("pause", "--why", "campaign", "--who", "ada").exit_code == 0
    assert cli("resume", "--why", "over").exit_code == 0
    paused, resumed = (event for event in everything(bus, COMMANDS) if isinstance(event, PauseCommand))
    assert (paused.paused, paused.who, paused.why) == (True, "ada", "campaign")
    assert (resumed.paused, resumed.why) == (False, "over")
    assert resumed.who
    assert sum(isinstance(event, RegisterModelCommand) for event in everything(bus, COMMANDS)) == 1


def test_a_run_is_asked_for_by_a_person(bus: MemoryBus, cli: Callable[..., Result]) -> None:
    unknown = cli("retrain", "--model", "nobody/none")
    assert (unknown.exit_code, "--model" in unknown.output) == (1, True)
    policies.apply(bus, ModelPolicy(base="smollm2"), "ada", "")
    result = cli("retrain", "--why", "200 corrections", "--who", "ada")
    assert (result.exit_code, "pawl status" in result.stdout) == (0, True)
    (asked_for,) = (event for event in everything(bus, COMMANDS) if isinstance(event, RetrainCommand))
    assert (asked_for.model, asked_for.who, asked_for.why) == (MODEL, "ada", "200 corrections")
    assert asked_for.recipe == "auto"


def test_a_run_is_asked_for_by_a_recipe_that_there_is(bus: MemoryBus, cli: Callable[..., Result]) -> None:
    policies.apply(bus, ModelPolicy(base="smollm2"), "ada", "")
    refused = cli("retrain", "--recipe", "ppo")
    assert refused.exit_code == 2
    assert all(name in refused.output for name in ("--recipe", "ppo", "auto", "kto", "dpo", "sft"))
    assert cli("retrain", "--recipe", "sft").exit_code == 0
    (asked_for,) = (event for event in everything(bus, COMMANDS) if isinstance(event, RetrainCommand))
    assert asked_for.recipe == "sft"
