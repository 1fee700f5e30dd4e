"""The work of a run: fetch what it needs, run the child, store what it made, say how it ended."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from pawl_shared import logging
from pawl_shared.artifacts import ArtifactStore
from pawl_shared.child import Child, Progress
from pawl_shared.clock import Clock
from pawl_shared.errors import ArtifactError, ChildFailedError
from pawl_shared.events import AdapterTrained, Event, RetrainRequested, TrainingFailed, TrainingProgressed
from pawl_shared.ids import derived_id
from pawl_shared.recipes import RecipeChoice
from pawl_shared.running.effects import EffectContext
from pawl_shared.stores.port import Effect
from pawl_trainer import metrics
from pawl_trainer.queue import TrainingOrder
from pawl_trainer.settings import TrainerSettings
from pawl_trainer.spec import RunSpec

MODULE = "pawl_trainer.run"
# For all libraries of the child: no network, no chatter, and threads that sleep while they wait for one another, since
# spinning would take the processor from serving.
ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
}


class Train:
    """Handles `train` effects."""

    def __init__(self, settings: TrainerSettings, artifacts: ArtifactStore, clock: Clock, source: str) -> None:
        self._settings, self._artifacts, self._clock, self._source = settings, artifacts, clock, source
        self._log = logging.get("pawl.trainer")

    def __call__(self, effect: Effect, context: EffectContext) -> Sequence[Event]:
        """One run. Whatever goes wrong in it is a TrainingFailed, so that the loop goes on; only a stop is raised."""
        order = TrainingOrder.model_validate_json(effect.payload)
        request = order.request
        metrics.WAITING.set(order.waiting)
        try:
            return [self._train(request, context)]
        except ChildFailedError as error:
            if context.cancelled.is_set():
                raise
            return [self._failed(request, error.reason, error.advice)]
        except ArtifactError as error:
            advice = "Check PAWL_ARTIFACT_URL and that the store still has it, then ask for retraining again."
            return [self._failed(request, str(error), advice)]
        except Exception as error:
            self._log.exception("a run failed in the service", run=str(request.id))
            return [self._failed(request, f"{type(error).__name__}: {error}", "See the trainer's log.")]
        finally:
            metrics.FRACTION.set(0)

    def _train(self, request: RetrainRequested, context: EffectContext) -> Event:
        artifacts = self._artifacts.patient(context.cancelled)
        spec = self._spec(request, artifacts)
        child = Child(MODULE, self._job_dir(request), spec, ENVIRONMENT, self._settings.training_nice)
        publish = _Throttle(request, self._source, self._settings.progress_seconds, self._clock, context)
        result = child.wait(publish, context.cancelled, self._settings.training_timeout_seconds)
        metrics.RUNS.labels(result["recipe"], "trained").inc()
        metrics.RUN_SECONDS.labels(result["recipe"]).observe(result["seconds"])
        self._log.info("trained", run=str(request.id), recipe=result["recipe"], seconds=result["seconds"])
        return self._trained(request, child.job_dir, result, artifacts)

    def _spec(self, request: RetrainRequested, artifacts: ArtifactStore) -> RunSpec:
        fetch, known = artifacts.fetch_file, get_args(RecipeChoice)
        recipe: RecipeChoice | None = next((name for name in known if name == request.recipe), None)
        if recipe is None:
            raise ChildFailedError(f"there is no recipe {request.recipe!r}.", f"Ask for one of {', '.join(known)}.")
        return RunSpec(
            run=str(request.id),
            model=request.model,
            base_dir=artifacts.fetch_folder(request.base),
            base=request.base,
            dataset_dir=artifacts.fetch_folder(request.dataset),
            dataset=request.dataset,
            parent_file=None if request.parent is None else fetch(request.parent),
            recipe=recipe,
            seed=request.seed,
            settings=self._settings.training,
        )

    def _job_dir(self, request: RetrainRequested) -> Path:
        return self._settings.data_dir / "trainer" / "runs" / str(request.id)

    def _trained(
        self, request: RetrainRequested, job_dir: Path, result: dict[str, Any], artifacts: ArtifactStore
    ) -> Event:
        return AdapterTrained(
            id=derived_id(request.id, AdapterTrained.TYPE),
            time=request.time,
            source=self._source,
            cause=request.id,
            model=request.model,
            run=request.id,
            alarm=request.alarm,
            adapter=artifacts.put_file(job_dir / result["adapter"]),
            base=request.base,
            parent=request.parent,
            dataset=request.dataset,
            trained_on=artifacts.put_file(job_dir / result["trained_on"]),
            recipe=result["recipe"],
            reasons=tuple(result["reasons"]),
            settings=result["settings"],
            seed=result["seed"],
            libraries=result["libraries"],
            metrics=result["metrics"],
            seconds=result["seconds"],
        )

    def _failed(self, request: RetrainRequested, reason: str, advice: str) -> Event:
        metrics.RUNS.labels(request.recipe, "failed").inc()
        self._log.warning("training failed", run=str(request.id), reason=reason, advice=advice)
        return TrainingFailed(
            id=derived_id(request.id, TrainingFailed.TYPE), time=request.time, source=self._source, cause=request.id,
            model=request.model, run=request.id, reason=reason, advice=advice,
        )  # fmt: skip


class _Throttle:
    """Publishes a line of progress when enough time has passed since the last one, or when a phase begins."""

    def __init__(
        self, request: RetrainRequested, source: str, every: float, clock: Clock, context: EffectContext
    ) -> None:
        self._request, self._source, self._every, self._clock, self._context = request, source, every, clock, context
        self._phase, self._last = "", 0.0

    def __call__(self, progress: Progress) -> None:
        metrics.FRACTION.set(progress.fraction)
        if "loss" in progress.metrics:
            metrics.LOSS.set(progress.metrics["loss"])
        now = self._clock.monotonic()
        if progress.phase == self._phase and now - self._last < self._every:
            return
        self._phase, self._last = progress.phase, now
        self._context.publish([self._event(progress)])

    def _event(self, progress: Progress) -> Event:
        # Progress is when it happened, not when its cause did: a run that begins again after a crash shows its own.
        now, request = self._clock.now(), self._request
        return TrainingProgressed(
            id=derived_id(request.id, f"{TrainingProgressed.TYPE} {now.isoformat()}"),
            time=now,
            source=self._source,
            cause=request.id,
            model=request.model,
            run=request.id,
            phase=progress.phase,
            step=progress.step,
            total=progress.total,
            fraction=progress.fraction,
            metrics=progress.metrics,
            eta_seconds=progress.eta_seconds,
        )
