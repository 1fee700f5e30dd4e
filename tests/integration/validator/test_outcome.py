"""What the command line says of a command: what it changed or why not, and which replicas follow."""

from datetime import timedelta

import pytest
from support.validator import BASE, GOOD, HARMFUL, MODEL, World

from pawl_cli.log import policies
from pawl_cli.log.outcome import CommandRefusedError, NoAnswerError, carried_out, followed
from pawl_shared import events as e
from pawl_shared.buses.port import Record
from pawl_shared.codec import decode, encode
from pawl_shared.ids import derived_id
from pawl_shared.policies.model_policy import ModelPolicy

ANSWERS: dict[type[e.Command], tuple[type[e.Event], ...]] = {e.ApproveCommand: (e.ApprovalChanged, e.StageChanged)}


class Asker:
    """A person with a command line, beside a validator."""

    def __init__(self) -> None:
        self.world = World()
        self.world.register()
        self.world.train(GOOD)
        self.number = 0

    def ask(self, cls: type[e.Command], **values: object) -> Record:
        self.number += 1
        identity = derived_id(self.world.deployment.id, f"command {self.number}")
        command = cls(id=identity, time=self.world.now, source="t", model=MODEL, who="ada", **values)

        def send() -> None:
            policies.publish(self.world.bus, command)
            self.world.pump()

        return carried_out(self.world.bus, command, 0.2, send, ANSWERS.get(cls, (e.DeploymentChanged,)))

    def report(self, replica: str, revision: int, **values: object) -> None:
        self.number += 1
        self.world.bus.producer(replica).send(
            encode(
                e.ReplicaReported(
                    id=derived_id(self.world.deployment.id, f"report {self.number}"), time=self.world.now, source="t",
                    replica=replica, applied={MODEL: revision}, healthy=True, **values,
                )
            )
        )  # fmt: skip


@pytest.fixture
def asker() -> Asker:
    return Asker()


def test_a_command_ends_in_the_deployment_that_it_caused(asker: Asker) -> None:
    changed = decode(asker.ask(e.PromoteCommand, version=GOOD))
    assert isinstance(changed, e.DeploymentChanged)
    assert (changed.change, changed.who) == ("promoted", "ada")
    back = decode(asker.ask(e.RollbackCommand))
    assert isinstance(back, e.DeploymentChanged)
    assert (back.champion.version, back.revision) == (BASE, changed.revision + 1)


def test_or_in_the_reason_why_it_cannot_be_followed(asker: Asker) -> None:
    asker.ask(e.PinCommand, version=BASE)
    with pytest.raises(CommandRefusedError, match=r"^default/assistant is pinned to bbb.*`pawl unpin` first"):
        asker.ask(e.PromoteCommand, version=GOOD)


def test_a_verdict_ends_in_the_stage_or_the_approval_that_it_brought_about(asker: Asker) -> None:
    with pytest.raises(CommandRefusedError, match="the evidence has not decided yet"):
        asker.ask(e.ApproveCommand, version=GOOD)
    rejected = decode(asker.ask(e.ApproveCommand, version=GOOD, verdict="reject"))
    assert isinstance(rejected, e.StageChanged)
    assert (rejected.stage, rejected.who) == ("rejected", "ada")
    policy = ModelPolicy.model_validate({"model": MODEL, "canary": {"approval": "both"}})
    asker.world.command(e.ConfigureModelCommand, policy=policy, digest=policy.digest)
    asker.world.train(HARMFUL, 2)
    approved = decode(asker.ask(e.ApproveCommand, version=HARMFUL))
    assert approved.cause is not None
    assert asker.world.deployment.cause == approved.cause


def test_or_in_no_answer_within_the_time_that_one_waits(asker: Asker) -> None:
    asker.world.stuck = True
    with pytest.raises(NoAnswerError, match="has not answered"):
        asker.ask(e.RollbackCommand)


def test_replicas_that_live_are_waited_for_and_those_that_are_gone_are_named(asker: Asker) -> None:
    world = asker.world
    asker.report("dead", 2)
    asker.report("ended", 2, stopped=True)
    world.clock.advance(timedelta(minutes=2).total_seconds())
    asker.report("ready", 2)
    asker.report("slow", 2, problems=("no free slot",))
    changed = asker.ask(e.PromoteCommand, version=GOOD)
    asker.report("ready", 3)
    found = followed(world.bus, changed, 0.1)
    assert (found.revision, found.there, found.missing) == (3, ["ready"], {"slow": "no free slot"})
    assert "not heard of since" in found.gone["dead"]
    assert found.gone.keys() == {"dead"}
    words = []

    def comes_late(said: str) -> None:
        words.append(said)
        if len(words) == 2:
            asker.report("slow", 3)

    assert followed(world.bus, changed, 60, comes_late).there == ["ready", "slow"]
    assert words[0] == "1 of 2 replicas"
