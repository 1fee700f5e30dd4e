"""The story told from events, and an answer explained from the monitor's account."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from support.samples import SAMPLES

from pawl_cli.log import lineage
from pawl_cli.log.story import tell
from pawl_shared import codec
from pawl_shared import events as e
from pawl_shared.artifacts import ArtifactStore
from pawl_shared.buses.memory_bus import MemoryBus
from pawl_shared.policies.model_policy import ModelPolicy
from pawl_shared.topics import TOPICS

BASE, ADAPTER, OTHER = "a" * 64, "b" * 64, "c" * 64
COMMON: dict[str, Any] = {"id": UUID(int=1), "time": datetime(2026, 1, 1, tzinfo=UTC), "source": "t", "model": "m"}
RATE = {"point": 0.8, "low": 0.7, "high": 0.9, "n": 200}


def texts(event: e.Event) -> str:
    return "\n".join(line.text for line in tell(event))


def test_an_alarm_is_told_with_its_evidence() -> None:
    alarm = e.DriftDetected.model_validate(
        COMMON | {"detector": "approval", "direction": "drop", "version": BASE, "since": COMMON["time"], "before": RATE,
                  "after": RATE | {"point": 0.3}, "sessions": 240, "evidence": 2e5, "threshold": 1e5,
                  "sentence": "Approval fell."}
    )  # fmt: skip
    told = texts(alarm)
    assert "Approval fell." in told
    assert "2e+05 against a threshold of 1e+05" in told


def test_a_policy_is_told_with_who_and_why() -> None:
    policy = ModelPolicy(model="m/n")
    command = e.ConfigureModelCommand(
        **COMMON | {"model": "m/n"}, who="ada", why="less", policy=policy, digest=policy.digest
    )
    (line,) = tell(command)
    assert line.who == "ada"
    assert line.text == f"Policy {policy.digest[:12]} is valid from now on: less"


def test_a_rejection_names_the_gate_and_why() -> None:
    gates = [
        {"gate": "integrity", "passed": True, "sentence": "fine"},
        {"gate": "learned", "passed": False, "sentence": "no better than the base"},
    ]
    rejected = e.CandidateRejected.model_validate(
        COMMON | {"run": UUID(int=2), "adapter": ADAPTER, "gates": gates, "reasons": ["learned: no better"]}
    )
    lines = tell(rejected)
    assert [line.mood for line in lines] == ["bad", "plain", "bad"]
    assert lines[2].text == "✗ learned: no better than the base"


def test_a_promotion_is_told_with_its_reasons_and_progress_is_not_told_at_all() -> None:
    version = {"version": ADAPTER, "base": BASE, "graph": OTHER}
    change = {"revision": 3, "champion": version, "change": "promoted", "reasons": ["evidence 140 passed 100"]}
    promoted = e.DeploymentChanged.model_validate(COMMON | change)
    assert "because evidence 140 passed 100" in texts(promoted)
    assert ADAPTER[:12] in texts(promoted)
    progress = COMMON | {"run": UUID(int=2), "phase": "train", "step": 1, "total": 2, "fraction": 0.5}
    assert tell(e.TrainingProgressed.model_validate(progress)) == []


def answer(kind: str) -> dict[str, Any]:
    example = {"kind": "pair", "messages": [{"role": "user", "content": "What is tea?"}], "chosen": "A drink.",
               "rejected": "Tea is a very long story.", "label": None, "completion": None}  # fmt: skip
    run = {"recipe": "dpo", "seconds": 90.0, "run": "r-1", "gates": [{"gate": "learned", "sentence": "won 9 of 10"}]}
    lineage_ = {
        "kind": kind,
        "registered": {"name": "smollm2"},
        "run": run,
        "dataset": {"digest": OTHER, "manifest": {"counts": {"pair/train": 20}}, "examples": [example]},
        "deployments": [{"change": "promoted", "reasons": ["evidence"]}],
        "alarm": {"alarm": "a-1", "sentence": "Approval fell."},
    }
    return {
        "messages": [{"role": "user", "content": "What is rain?"}], "answer": "Water.", "version": ADAPTER,
        "arm": "champion", "feedback_events": [{"kind": "thumb", "value": 1.0, "text": None}], "lineage": lineage_,
        "learnt_from": {"feedback_ids": ["f-1", "f-2"]},
    }  # fmt: skip


def test_an_answer_is_explained_down_to_the_feedback_it_learnt_from() -> None:
    told = "\n".join(lineage.lines(answer("adapter")))
    for part in ("What is rain?", "liked it", "dpo", OTHER[:12], "2 pieces of feedback", "rather “A drink.” (2 words)",
                 "won 9 of 10", "Promoted: evidence", "alarm a-1"):  # fmt: skip
        assert part in told


def test_a_base_answer_has_learnt_nothing() -> None:
    assert "smollm2" in lineage.lines(answer("base"))[-1]


def test_an_answer_made_elsewhere_names_who_gave_it() -> None:
    told = lineage.lines(answer("base") | {"arm": "external", "provider": "openai", "provider_model": "gpt-5-mini"})
    assert any(line.startswith("Answered elsewhere, by openai gpt-5-mini: “") for line in told)
    assert "base model" not in "\n".join(told)


def test_an_answer_of_an_experiments_arm_says_so() -> None:
    told = lineage.lines(answer("adapter") | {"experiment_arm": "kind", "prompt_version": "ab" * 32})
    assert "as the arm kind of an experiment, with the arm's own system prompt" in "\n".join(told)


def test_a_store_that_refuses_costs_an_explanation_only_what_lies_there(tmp_path: Path) -> None:
    trained = next(each for each in SAMPLES if isinstance(each, e.AdapterTrained)).model_copy(
        update={"trained_on": OTHER}
    )
    bus = MemoryBus()
    bus.create_topics(TOPICS)
    bus.producer("test").send(codec.encode(trained)).result(5)
    there = f"sha256/{OTHER[:2]}/{OTHER}"
    (tmp_path / "store" / there).mkdir(parents=True)  # cannot be read, as what S3 gives no right to: an OSError
    known = {"version": trained.adapter}

    class Monitor:
        def interaction(self, inference_id: str) -> dict[str, Any]:
            return known

    artifacts = ArtifactStore(f"file://{tmp_path / 'store'}", tmp_path / "cache")
    found = lineage.explain("an id", Monitor(), bus, artifacts)  # type: ignore[arg-type]
    assert found == known | {"learnt_from": None}
