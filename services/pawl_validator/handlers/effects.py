"""The owed work: bring a base model in, and measure a candidate. Each runs in a child process, so that the validator
keeps listening: a rollback never waits for a gate."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from pawl_shared import events as e
from pawl_shared import logging
from pawl_shared.artifacts import ArtifactStore
from pawl_shared.child import Child, Progress
from pawl_shared.clock import Clock
from pawl_shared.errors import ArtifactError, ChildFailedError
from pawl_shared.ids import derived_id
from pawl_shared.running.effects import EffectContext
from pawl_shared.service import Health
from pawl_shared.stores.port import Effect
from pawl_validator import metrics
from pawl_validator.evaluation.report import EvaluationSpec, Report
from pawl_validator.handlers.candidates import EvaluationOrder
from pawl_validator.model_card import write_card
from pawl_validator.register import RegistrationSpec
from pawl_validator.settings import ValidatorSettings

ENVIRONMENT = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    # Threads that wait by spinning burn the time that serving needs: beside live traffic on two cores, the same answers
    # took 4 s of CPU instead of 30, and 5 s instead of 120.
    "OMP_WAIT_POLICY": "PASSIVE",
}


class Jobs:
    """Child processes of this service, each in a folder of its own."""

    def __init__(self, settings: ValidatorSettings) -> None:
        self._settings = settings

    def run(
        self, module: str, identity: UUID, spec: Any, on_progress: Callable[[Progress], None], context: EffectContext
    ) -> tuple[Path, dict[str, Any]]:
        """The job's folder and result. Raises ChildFailedError."""
        folder = self._settings.data_dir / "validator" / "jobs" / str(identity)
        child = Child(module, folder, spec, ENVIRONMENT, self._settings.evaluation_nice)
        return folder, child.wait(on_progress, context.cancelled, self._settings.evaluation_timeout_seconds)


class Register:
    """Handles `register` effects: ends in ModelRegistered, or makes the service not ready with the reason."""

    def __init__(
        self,
        settings: ValidatorSettings,
        jobs: Jobs,
        artifacts: ArtifactStore,
        health: Health,
        clock: Clock,
        source: str,
    ) -> None:
        self._settings, self._jobs, self._artifacts = settings, jobs, artifacts
        self._health, self._clock, self._source = health, clock, source
        self._log = logging.get("pawl.validator")

    def __call__(self, effect: Effect, context: EffectContext) -> Sequence[e.Event]:
        command = e.RegisterModelCommand.model_validate_json(effect.payload)
        waits = f"base of {command.model}"
        self._health.wait_for(waits, f"fetching and exporting {command.base}")
        began = self._clock.monotonic()

        def told(progress: Progress) -> None:
            self._health.wait_for(waits, f"{progress.fraction:.0%} {progress.phase}: {progress.message}")

        try:
            folder, result = self._jobs.run("pawl_validator.register", effect.id, self._spec(command), told, context)
        except ChildFailedError as error:
            if context.cancelled.is_set():
                raise
            self._health.wait_for(waits, f"{command.base} cannot be registered: {error}")
            self._log.error("registration failed", base=command.base, reason=error.reason, advice=error.advice)
            return ()
        shutil.rmtree(folder / "graph", ignore_errors=True)
        metrics.EXPORT_SECONDS.observe(self._clock.monotonic() - began)
        self._health.clear(waits)
        return [self._registered(command, result)]

    def _spec(self, command: e.RegisterModelCommand) -> RegistrationSpec:
        return RegistrationSpec(
            base=command.base,
            precision=self._settings.precision if command.precision == "auto" else command.precision,
            threads=self._settings.threads,
            rank=self._settings.slot_rank,
            cache_dir=self._settings.data_dir / "validator",
            artifact_url=self._settings.artifacts,
            artifact_cache=self._settings.artifact_cache,
        )

    def _registered(self, command: e.RegisterModelCommand, result: dict[str, Any]) -> e.Event:
        return e.ModelRegistered(
            id=derived_id(command.id, e.ModelRegistered.TYPE),
            time=command.time,
            source=self._source,
            cause=command.id,
            model=command.model,
            version=result["base"],
            kind="base",
            name=result["name"],
            base=result["base"],
            graph=result["graph"],
            card=result["card"],
            licence=result["licence"],
            precision=result["precision"],
            fidelity=result["fidelity"],
        )


class Evaluate:
    """Handles `evaluate` effects: ends in ModelRegistered with CandidateValidated, or in CandidateRejected."""

    def __init__(
        self, settings: ValidatorSettings, jobs: Jobs, artifacts: ArtifactStore, clock: Clock, source: str
    ) -> None:
        self._settings, self._jobs, self._artifacts = settings, jobs, artifacts
        self._clock, self._source = clock, source
        self._log = logging.get("pawl.validator")

    def __call__(self, effect: Effect, context: EffectContext) -> Sequence[e.Event]:
        order = EvaluationOrder.model_validate_json(effect.payload)
        began = self._clock.monotonic()
        artifacts = self._artifacts.patient(context.cancelled)
        try:
            spec = self._spec(order, artifacts)
            tell = _Teller(order.trained, self._source, self._settings.progress_seconds, self._clock, context)
            folder, result = self._jobs.run("pawl_validator.evaluate", effect.id, spec, tell, context)
            report = Report.model_validate_json((folder / result["report"]).read_bytes())
            events = self._verdict(order, report, folder, result["slot_file"], artifacts)
        except (ChildFailedError, ArtifactError) as error:
            if context.cancelled.is_set():
                raise
            return [self._rejected(order, None, None, (f"the candidate could not be evaluated: {error}",))]
        except Exception as error:  # without a verdict the loop would wait for this run for ever
            if context.cancelled.is_set():
                raise
            self._log.exception("an evaluation failed in the service", adapter=order.trained.adapter)
            reason = f"the candidate could not be evaluated: {type(error).__name__}: {error} (see the validator's log)"
            return [self._rejected(order, None, None, (reason,))]
        finally:
            metrics.FRACTION.set(0)
        metrics.EVALUATION_SECONDS.observe(self._clock.monotonic() - began)
        self._log.info("evaluated", adapter=report.adapter, passed=report.passed, seconds=report.seconds)
        return events

    def _spec(self, order: EvaluationOrder, artifacts: ArtifactStore) -> EvaluationSpec:
        trained, champion = order.trained, order.champion
        fetch = artifacts.fetch_file
        return EvaluationSpec(
            model=trained.model,
            adapter=trained.adapter,
            adapter_file=fetch(trained.adapter),
            base=champion.base,
            base_dir=artifacts.fetch_folder(champion.base),
            graph=champion.graph,
            graph_dir=artifacts.fetch_folder(champion.graph),
            champion=champion.version,
            champion_file=fetch(champion.version) if champion.slot_file else None,
            parent_file=fetch(trained.parent) if trained.parent and trained.parent != champion.base else None,
            dataset=trained.dataset,
            dataset_dir=artifacts.fetch_folder(trained.dataset),
            gates=order.gates,
            probes=order.probes,
            threads=self._settings.threads,
        )

    def _verdict(
        self, order: EvaluationOrder, report: Report, folder: Path, slot_file: str | None, artifacts: ArtifactStore
    ) -> list[e.Event]:
        stored = artifacts.put_file(folder / "report.json")
        slots = None if slot_file is None else artifacts.put_file(folder / slot_file)
        manifest = json.loads((artifacts.fetch_folder(order.trained.dataset) / "manifest.json").read_bytes())
        write_card(folder / "card", order.trained, report, manifest, slots)
        card = artifacts.put_folder(folder / "card")
        for gate in report.failed:
            metrics.GATES_FAILED.labels(gate).inc()
        metrics.EVALUATIONS.labels("validated" if report.passed else "rejected").inc()
        registered = self._registered(order, slots, stored, card)
        if report.passed and slots is not None:
            return [registered, self._validated(order, report, stored, slots)]
        failed = [gate for gate in report.gates if gate.name in report.failed]
        reasons = tuple(f"gate {gate.name}: {gate.sentence}" for gate in failed)
        return [registered, self._rejected(order, report, stored, reasons)]

    def _registered(self, order: EvaluationOrder, slots: str | None, report: str, card: str) -> e.Event:
        trained = order.trained
        return e.ModelRegistered(
            **self._envelope(order, e.ModelRegistered.TYPE),
            version=trained.adapter,
            kind="adapter",
            base=order.champion.base,
            graph=order.champion.graph,
            slot_file=slots,
            parent=trained.parent,
            dataset=trained.dataset,
            run=trained.run,
            alarm=trained.alarm,
            card=card,
            report=report,
        )

    def _validated(self, order: EvaluationOrder, report: Report, stored: str, slots: str) -> e.Event:
        return e.CandidateValidated(
            **self._envelope(order, e.CandidateValidated.TYPE),
            run=order.trained.run,
            adapter=order.trained.adapter,
            slot_file=slots,
            graph=report.graph,
            report=stored,
            gates=_gates(report),
            champion=order.champion.version,
        )

    def _rejected(
        self, order: EvaluationOrder, report: Report | None, stored: str | None, reasons: tuple[str, ...]
    ) -> e.Event:
        self._log.warning("candidate rejected", adapter=order.trained.adapter, reasons=reasons)
        return e.CandidateRejected(
            **self._envelope(order, e.CandidateRejected.TYPE),
            run=order.trained.run,
            adapter=order.trained.adapter,
            report=stored,
            gates=() if report is None else _gates(report),
            reasons=reasons,
        )

    def _envelope(self, order: EvaluationOrder, kind: str) -> dict[str, Any]:
        trained = order.trained
        return {
            "id": derived_id(order.again or trained.id, kind),
            "time": trained.time,
            "source": self._source,
            "cause": trained.id,
            "model": trained.model,
            **({} if kind == e.ModelRegistered.TYPE else {"policy": order.policy}),
        }


def _gates(report: Report) -> tuple[e.GateResult, ...]:
    return tuple(
        e.GateResult(
            gate=gate.name,
            passed=gate.passed,
            sentence=gate.sentence
            + (f" (smallest harm it could see: {gate.smallest_harm})" if gate.smallest_harm else ""),
            numbers={name: float(number) for name, number in gate.numbers.items() if number is not None},
        )
        for gate in report.gates
    )


class _Teller:
    """Tells how far the gates are, as progress of the run, at most every few seconds."""

    def __init__(
        self, trained: e.AdapterTrained, source: str, every: float, clock: Clock, context: EffectContext
    ) -> None:
        self._trained, self._source, self._every, self._clock, self._context = trained, source, every, clock, context
        self._phase, self._last = "", 0.0

    def __call__(self, progress: Progress) -> None:
        metrics.FRACTION.set(progress.fraction)
        now = self._clock.monotonic()
        if progress.phase == self._phase and now - self._last < self._every:
            return
        self._phase, self._last = progress.phase, now
        self._context.publish([self._event(progress)])

    def _event(self, progress: Progress) -> e.Event:
        now = self._clock.now()
        return e.TrainingProgressed(
            id=derived_id(self._trained.id, f"{e.TrainingProgressed.TYPE} {now.isoformat()}"),
            time=now,
            source=self._source,
            cause=self._trained.id,
            model=self._trained.model,
            run=self._trained.run,
            phase=f"gate {progress.phase}",
            step=progress.step,
            total=progress.total,
            fraction=progress.fraction,
        )
