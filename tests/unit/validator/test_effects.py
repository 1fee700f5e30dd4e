"""What an evaluation becomes: events with derived ids, a stored report and slot file, a model card."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

import pytest
from support.validator import BASE, MODEL, Context

from pawl_shared import events as e
from pawl_shared.artifacts import ArtifactStore
from pawl_shared.child import Progress
from pawl_shared.clock import ManualClock
from pawl_shared.errors import ChildFailedError
from pawl_shared.running.effects import EffectContext
from pawl_shared.service import Health
from pawl_shared.stores.port import Effect
from pawl_validator.domain.gates import GateResult
from pawl_validator.evaluation.report import EvaluationSpec, Example, Report
from pawl_validator.handlers.candidates import EVALUATE, EvaluationOrder
from pawl_validator.handlers.effects import Evaluate, Jobs, Register
from pawl_validator.handlers.folds import REGISTER
from pawl_validator.settings import ValidatorSettings

START = datetime(2026, 1, 1, tzinfo=UTC)
IDENTITY = uuid5(NAMESPACE_OID, "effect")


class FakeJobs(Jobs):
    """Does in this process what `work` says."""

    def __init__(self, folder: Path, work: Callable[[Path, Any], dict[str, Any]]) -> None:
        self._folder, self._work = folder, work

    def run(
        self, module: str, identity: UUID, spec: Any, on_progress: Callable[[Progress], None], context: EffectContext
    ) -> tuple[Path, dict[str, Any]]:
        self._folder.mkdir(exist_ok=True)
        on_progress(Progress(phase="learned", step=1, total=2, fraction=0.5))
        return self._folder, self._work(self._folder, spec)


def report(spec: EvaluationSpec, failed: tuple[str, ...]) -> Report:
    gates = tuple(
        GateResult(name=name, passed=name not in failed, sentence=f"{name} was looked at", numbers={"rise": 0.01})
        for name in ("integrity", "learned")
    )
    return Report(
        model=spec.model, adapter=spec.adapter, base=spec.base, graph=spec.graph, champion=spec.champion,
        dataset=spec.dataset, passed=not failed, failed=failed, gates=gates, policy=spec.gates, probes=spec.probes,
        examples=(Example(prompt="Why?", base="Because.", champion="Because.", candidate="Since\n| a | b |"),),
    )  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(f"file://{tmp_path}/store", tmp_path / "cache")


def folder_of(tmp_path: Path, name: str, **files: str) -> Path:
    folder = tmp_path / name
    folder.mkdir()
    for file, content in files.items():
        (folder / file.replace("_", ".")).write_text(content)
    return folder


def evaluated(
    tmp_path: Path, store: ArtifactStore, work: Callable[[Path, Any], dict[str, Any]]
) -> tuple[Sequence[e.Event], Context]:
    adapter = store.put_bytes(b"adapter")
    base = store.put_folder(folder_of(tmp_path, "base", config_json="{}"))
    graph = store.put_folder(folder_of(tmp_path, "graph", pawl_json="{}"))
    dataset = store.put_folder(folder_of(tmp_path, "data", manifest_json='{"counts": {"pair/train": 12}}'))
    run = uuid5(NAMESPACE_OID, "run")
    trained = e.AdapterTrained(
        id=run, time=START, source="test", model=MODEL, run=run, adapter=adapter, base=base, dataset=dataset,
        recipe="dpo", reasons=("12 corrections",), settings={"rank": 16}, seed=3, seconds=80,
    )  # fmt: skip
    order = EvaluationOrder(trained=trained, champion=e.DeployedVersion(version=base, base=base, graph=graph))
    handler = Evaluate(
        ValidatorSettings(data_dir=tmp_path), FakeJobs(tmp_path / "job", work), store, ManualClock(), "me"
    )
    context = Context()
    return handler(Effect(IDENTITY, EVALUATE, order.model_dump_json()), context), context


def judged(failed: tuple[str, ...]) -> Callable[[Path, EvaluationSpec], dict[str, Any]]:
    def work(folder: Path, spec: EvaluationSpec) -> dict[str, Any]:
        (folder / "report.json").write_text(report(spec, failed).model_dump_json())
        (folder / "slots.safetensors").write_bytes(b"slots")
        return {"report": "report.json", "slot_file": "slots.safetensors"}

    return work


def test_a_candidate_that_passes_is_registered_with_card_report_and_the_file_that_was_tested(
    tmp_path: Path, store: ArtifactStore
) -> None:
    (registered, validated), context = evaluated(tmp_path, store, judged(()))
    assert isinstance(registered, e.ModelRegistered)
    assert isinstance(validated, e.CandidateValidated)
    assert store.read_bytes(validated.slot_file) == b"slots"
    assert [gate.gate for gate in validated.gates] == ["integrity", "learned"]
    assert validated.id != registered.id
    assert registered.card is not None
    card = store.fetch_folder(registered.card)
    text = (card / "README.md").read_text()
    assert "| pair/train | 12 |" in text
    assert "It passed every gate." in text
    assert "    | a | b |" in text  # an answer cannot become markup
    assert json.loads((card / "card.json").read_text())["recipe"]["seed"] == 3
    assert [event.phase for event in context.published if isinstance(event, e.TrainingProgressed)] == ["gate learned"]


def test_doing_it_twice_gives_the_same_events(tmp_path: Path, store: ArtifactStore) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, _ = evaluated(tmp_path / "a", store, judged(()))
    two, _ = evaluated(tmp_path / "b", store, judged(()))
    assert one == two


def test_a_rejection_names_the_gate_and_says_why(tmp_path: Path, store: ArtifactStore) -> None:
    (_, rejected), _ = evaluated(tmp_path, store, judged(("learned",)))
    assert isinstance(rejected, e.CandidateRejected)
    assert rejected.reasons == ("gate learned: learned was looked at",)
    assert rejected.report is not None


def test_an_evaluation_that_cannot_be_done_rejects_with_its_reason(tmp_path: Path, store: ArtifactStore) -> None:
    def broken(_folder: Path, _spec: EvaluationSpec) -> dict[str, Any]:
        raise ChildFailedError("the child process was killed by SIGKILL")

    (rejected,), _ = evaluated(tmp_path, store, broken)
    assert isinstance(rejected, e.CandidateRejected)
    assert "SIGKILL" in rejected.reasons[0]


def test_a_base_that_cannot_be_registered_makes_the_service_say_so(tmp_path: Path, store: ArtifactStore) -> None:
    def broken(_folder: Path, _spec: object) -> dict[str, Any]:
        raise ChildFailedError("'nonsense' is no base model: give a hub id")

    health = Health("validator")
    health.clear("start")
    settings = ValidatorSettings(data_dir=tmp_path)
    handler = Register(settings, FakeJobs(tmp_path / "job", broken), store, health, ManualClock(), "me")
    command = e.RegisterModelCommand(id=IDENTITY, time=START, source="test", model=MODEL, base="nonsense", who="op")
    assert handler(Effect(IDENTITY, REGISTER, command.model_dump_json()), Context()) == ()
    assert not health.ready
    assert "is no base model" in health.obstacles[f"base of {MODEL}"], "of each model its own"


def test_a_registered_base_is_announced(tmp_path: Path, store: ArtifactStore) -> None:
    def done(_folder: Path, _spec: object) -> dict[str, Any]:
        made = {"graph": "d" * 64, "card": "c" * 64, "precision": "fp16", "fidelity": {"top1": 1.0}}
        return {"base": BASE, "name": "tiny", "licence": "apache-2.0"} | made

    health = Health("validator")
    handler = Register(
        ValidatorSettings(data_dir=tmp_path), FakeJobs(tmp_path / "job", done), store, health, ManualClock(), "me"
    )
    command = e.RegisterModelCommand(id=IDENTITY, time=START, source="test", model=MODEL, base="tiny", who="op")
    (event,) = handler(Effect(IDENTITY, REGISTER, command.model_dump_json()), Context())
    assert isinstance(event, e.ModelRegistered)
    assert (event.version, event.kind, event.cause) == (BASE, "base", command.id)
    assert (event.card, event.precision, event.fidelity) == ("c" * 64, "fp16", {"top1": 1.0})
    assert "base" not in health.obstacles


def test_an_evaluation_that_the_service_itself_cannot_finish_is_a_verdict_too(
    tmp_path: Path, store: ArtifactStore
) -> None:
    def full(folder: Path, spec: Any) -> dict[str, Any]:
        raise OSError("no space left on device")

    events, _ = evaluated(tmp_path, store, full)
    (rejected,) = events
    assert isinstance(rejected, e.CandidateRejected)
    assert "no space left on device" in rejected.reasons[0]
