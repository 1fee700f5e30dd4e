"""What `pawl rollback` names when nobody names it, and when it asks for a name."""

from uuid import UUID

import pytest
from support.samples import ADAPTER, BASE, GRAPH, MODEL, SLOTS, envelope
from typer.testing import CliRunner

from pawl_cli.__main__ import app
from pawl_cli.commands import asked, deployment
from pawl_cli.log.outcome import NoAnswerError
from pawl_cli.log.undo import NothingToUndoError, latest, taken_away
from pawl_shared import events as e
from pawl_shared.buses.memory_bus import MemoryBus
from pawl_shared.codec import encode
from pawl_shared.topics import TOPICS

CHAMPION = e.DeployedVersion(version=BASE, base=BASE, graph=GRAPH)
CHALLENGER = e.DeployedVersion(version=ADAPTER, base=BASE, graph=GRAPH, slot_file=SLOTS)


def changed(revision: int = 2, model: str = MODEL, **values: object) -> e.DeploymentChanged:
    given = {"champion": CHAMPION, "change": "promoted", "reasons": ("promoted by ada: read",), **values}
    return e.DeploymentChanged(**envelope(revision), model=model, revision=revision, **given)  # type: ignore[arg-type]


def test_the_candidate_on_trial_else_the_champion() -> None:
    assert taken_away(changed(challenger=CHALLENGER, share=0.1, canary=UUID(int=1), change="canary")) == ADAPTER
    assert taken_away(changed()) == BASE


def test_after_a_rollback_and_in_an_experiment_the_champion_has_to_be_named() -> None:
    with pytest.raises(NothingToUndoError, match=rf"a rollback already \(rolled back by ada: harm\).*{BASE[:7]}"):
        taken_away(changed(change="rolled-back", reasons=("rolled back by ada: harm",)))
    arms = tuple(e.ExperimentArm(name=name, share=0.5, served=CHAMPION) for name in ("old", "new"))
    experiment = e.Experiment(id=UUID(int=2), name="tone", arms=arms, alpha=0.05)
    with pytest.raises(NothingToUndoError, match="tone runs: `pawl experiment stop` ends it and rejects no version"):
        taken_away(changed(change="experiment", experiment=experiment))


def test_the_latest_of_the_model() -> None:
    events = [changed(1), changed(2), changed(7, "shop/bot")]
    assert latest(events, MODEL).revision == 2
    with pytest.raises(NothingToUndoError, match=f"nothing is deployed as shop/bto: Pawl serves {MODEL}, shop/bot"):
        latest(events, "shop/bto")


def test_the_command_that_is_sent_names_it_and_so_does_what_to_do_when_nobody_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bus, sent = MemoryBus(), list[e.Command]()
    bus.create_topics(TOPICS)
    bus.producer("test").send(encode(changed(challenger=CHALLENGER, share=0.1, canary=UUID(int=1), change="canary")))

    def nobody(_bus: object, command: e.Command, *_: object) -> None:
        sent.append(command)
        raise NoAnswerError("the validator has not answered")

    monkeypatch.setattr(asked, "bus_at", lambda *_: bus)
    monkeypatch.setattr(deployment.outcome, "carried_out", nobody)
    for words in ([], [BASE[:7]]):
        result = CliRunner().invoke(app, ["rollback", *words])
        assert result.exit_code == 1
        assert "pawl rollback --force" in " ".join(result.output.split())
    assert [command.version for command in sent if isinstance(command, e.RollbackCommand)] == [ADAPTER, BASE]
