"""Work outside the process, done at once: what freezes data sets, trains, registers and evaluates."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.simulated.actors import BASE, GRAPH, digest
from benchmarks.simulated.faults import Faults

from pawl_monitor.domain.trigger_state import Usable
from pawl_monitor.storage import datasets
from pawl_shared import events as e
from pawl_shared.ids import derived_id
from pawl_shared.running.effects import EffectContext
from pawl_shared.stores.memory import MemoryDatabase
from pawl_shared.stores.port import Effect
from pawl_trainer.queue import TrainingOrder
from pawl_validator.handlers.candidates import EvaluationOrder


class MemoryFeedback:
    """Feedback as the monitor's memory store has it; a data set is its rows' digest, and survives."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database
        self._frozen: dict[str, datasets.Frozen] = {}

    def usable(self, request: datasets.Request) -> Usable:
        return datasets.usable(self.collect(request))

    def collect(self, request: datasets.Request) -> list[datasets.Line]:
        given = (row.by_name for row in self._database.rows if row.table == "feedback")
        rows = [row for row in given if row["value"] is not None]
        return [
            {
                "kind": "binary",
                "label": row["value"] >= 0.5,
                "split": "heldout" if number % 4 == 0 else "train",
                "finished": True,
            }
            for number, row in enumerate(rows)
            if request.since <= row["time"] <= request.until
        ]

    def freeze(self, lines: datasets.Lines, request: datasets.Request) -> str:
        name = digest("dataset", len(lines), request.since, request.until)
        self._frozen[name] = datasets.Frozen(request.until, lines)
        return name

    def frozen(self, digest: str) -> datasets.Frozen | None:
        """As the artifact store would give it back."""
        return self._frozen.get(digest)


class Train:
    """A run that ends at once: with an adapter, or now and then without."""

    def __init__(self, faults: Faults, taste: dict[str, float]) -> None:
        self._faults, self._taste = faults, taste

    def __call__(self, effect: Effect, context: EffectContext) -> Sequence[e.Event]:
        request = TrainingOrder.model_validate_json(effect.payload).request
        common = {"time": request.time, "source": "trainer", "cause": request.id, "model": request.model}
        self._faults.crash(f"trainer during run {request.id}")
        if int(request.id) % 5 == 0:
            failed = derived_id(request.id, e.TrainingFailed.TYPE)
            return [e.TrainingFailed(id=failed, run=request.id, reason="the data is one-sided", **common)]
        # Training the same run again after a crash gives other weights.
        adapter = digest("adapter", request.id, self._faults.rng.random())
        self._taste[adapter] = self._faults.rng.choice((0.95, 0.95, 0.1))
        trained = e.AdapterTrained(
            id=derived_id(request.id, e.AdapterTrained.TYPE), run=request.id, alarm=request.alarm, adapter=adapter,
            base=request.base, parent=request.parent, dataset=request.dataset, recipe="sft", seed=0, seconds=1.0,
            **common,
        )  # fmt: skip
        self._faults.crash(f"trainer at the end of run {request.id}")
        return [trained]


class Register:
    """A base model that needs no export."""

    def __call__(self, effect: Effect, context: EffectContext) -> Sequence[e.Event]:
        command = e.RegisterModelCommand.model_validate_json(effect.payload)
        return [
            e.ModelRegistered(
                id=derived_id(command.id, e.ModelRegistered.TYPE),
                time=command.time,
                source="validator",
                cause=command.id,
                model=command.model,
                version=BASE,
                kind="base",
                base=BASE,
                graph=GRAPH,
            )
        ]


class Evaluate:
    """Gates that look at nothing, and refuse one candidate of six."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def __call__(self, effect: Effect, context: EffectContext) -> Sequence[e.Event]:
        order = EvaluationOrder.model_validate_json(effect.payload)
        trained = order.trained
        self._faults.crash(f"validator during the evaluation of {trained.adapter[:12]}")
        common = {"time": trained.time, "source": "validator", "cause": trained.id, "model": trained.model,
                  "run": trained.run, "adapter": trained.adapter}  # fmt: skip
        failed = self._faults.strikes("work fails", f"the evaluation of {trained.adapter[:12]}", 3)
        if failed or int(trained.adapter, 16) % 6 == 0:
            rejected = derived_id(effect.id, e.CandidateRejected.TYPE)
            return [
                e.CandidateRejected(
                    id=rejected, reasons=("the disk is full" if failed else "gate learned: it did not",), **common
                )
            ]
        validated = derived_id(effect.id, e.CandidateValidated.TYPE)
        return [
            e.CandidateValidated(
                id=validated,
                slot_file=digest("slots", trained.adapter),
                graph=GRAPH,
                report=digest("report"),
                champion=order.champion.version,
                gates=(),
                **common,
            )
        ]
