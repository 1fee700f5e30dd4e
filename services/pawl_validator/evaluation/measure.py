"""Measures a candidate for every gate and judges it. All gates run, whatever the first ones say."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pawl_shared.child import Progress
from pawl_shared.errors import PawlError
from pawl_shared.models import lora_format
from pawl_shared.models.lora_format import TrainedAdapter
from pawl_validator import onnx_export, onnx_parity
from pawl_validator.domain import gates
from pawl_validator.evaluation import answers as rules
from pawl_validator.evaluation import heldout, integrity, probes
from pawl_validator.evaluation.heldout import Scored
from pawl_validator.evaluation.model import Answer, EvaluationModel
from pawl_validator.evaluation.report import EvaluationSpec, Example, Report

Send = Callable[[Progress], None]
T = TypeVar("T")

SLOT_FILE = "slots.safetensors"
EXAMPLES = 6
# Part of the whole that each gate takes, measured on SmolLM2-135M; for the bar only.
PARTS = {"integrity": 0.03, "learned": 0.27, "retention": 0.2, "degeneration": 0.4, "parity": 0.1}


class Evaluation:
    """One candidate beside champion and base."""

    def __init__(self, spec: EvaluationSpec, job_dir: Path, send: Send) -> None:
        self._spec, self._job_dir, self._send = spec, job_dir, send
        self._seconds: dict[str, float] = {}
        self._examples: tuple[Example, ...] = ()
        self._talks: list[str] = []
        self._device = ""

    def run(self) -> Report:
        """All gates, in their order."""
        spec = self._spec
        candidate, first = self._integrity()
        results = [first]
        if candidate is None:
            results += [gates.unmeasured(name, "the adapter cannot be used") for name in gates.NAMES[1:]]
        else:
            results += self._behaviour(candidate)
            results.append(self._guarded("parity", self._parity))
        failed = tuple(gates.failed(results))
        return Report(
            model=spec.model,
            adapter=spec.adapter,
            base=spec.base,
            graph=spec.graph,
            champion=spec.champion,
            dataset=spec.dataset,
            passed=not failed,
            failed=failed,
            gates=tuple(results),
            examples=self._examples,
            probe_sets={"neutral_texts": probes.digest("neutral_texts"), "prompts": probes.digest("prompts")},
            policy=spec.gates,
            probes=spec.probes,
            device=self._device,
            seconds={name: round(seconds, 2) for name, seconds in self._seconds.items()},
        )

    def _integrity(self) -> tuple[TrainedAdapter | None, gates.GateResult]:
        spec = self._spec
        with self._phase("integrity"):
            others = [path for path in (spec.parent_file, spec.champion_file) if path is not None]
            seen, adapter = integrity.inspect(spec.adapter_file, spec.adapter, spec.base, spec.base_dir, others)
            if adapter is not None:
                try:
                    self._pack()
                except PawlError as error:
                    seen, adapter = seen.model_copy(update={"problems": (str(error),)}), None
        return adapter, gates.integrity(spec.gates, seen)

    def _pack(self) -> None:
        spec = self._spec
        onnx_export.pack_adapter(spec.adapter_file, spec.graph_dir, spec.graph, self._job_dir / SLOT_FILE)

    def _behaviour(self, candidate: TrainedAdapter) -> list[gates.GateResult]:
        """The gates that ask the model itself; its weights are given back before parity loads its own."""
        spec = self._spec
        model = EvaluationModel(spec.base_dir, spec.threads)
        self._device = f"{model.device}, {str(model.dtype).removeprefix('torch.')}"
        champion = lora_format.read_adapter(spec.champion_file) if spec.champion_file else None
        return [
            self._guarded("learned", lambda: self._learned(model, champion, candidate)),
            self._guarded("retention", lambda: self._retention(model, champion, candidate)),
            self._guarded("degeneration", lambda: self._degeneration(model, champion, candidate)),
        ]

    def _learned(
        self, model: EvaluationModel, champion: TrainedAdapter | None, candidate: TrainedAdapter
    ) -> gates.GateResult:
        rows = heldout.read(self._spec.dataset_dir, self._spec.probes.heldout)
        chosen, rejected = [pair[0] for pair in rows.pairs], [pair[1] for pair in rows.pairs]
        groups = [chosen, rejected, list(rows.ups), list(rows.downs), list(rows.demonstrations)]
        everything: list[Scored] = [scored for group in groups for scored in group]
        old, new = (
            self._worn(model, adapter, "learned", turn, 2, lambda tick: model.answer_scores(everything, tick))
            for turn, adapter in enumerate((champion, candidate))
        )
        ratios = iter([n - o for n, o in zip(new, old, strict=True)])
        first, second, ups, downs, demonstrations = ([next(ratios) for _ in group] for group in groups)
        seen = gates.Learned(
            pairs=tuple(c - r for c, r in zip(first, second, strict=True)),
            ups=tuple(ups),
            downs=tuple(downs),
            demonstrations=tuple(demonstrations),
        )
        return gates.learned(self._spec.gates, seen)

    def _retention(
        self, model: EvaluationModel, champion: TrainedAdapter | None, candidate: TrainedAdapter
    ) -> gates.GateResult:
        texts = [p.text for p in probes.spread(probes.load("neutral_texts"), self._spec.probes.neutral_texts)]
        base, old, new = self._three(champion, candidate, model, "retention", lambda t: model.text_losses(texts, t))
        seen = gates.Retention(
            tokens=tuple(base[1]), base=tuple(base[0]), champion=tuple(old[0]), candidate=tuple(new[0])
        )
        return gates.retention(self._spec.gates, seen)

    def _degeneration(
        self, model: EvaluationModel, champion: TrainedAdapter | None, candidate: TrainedAdapter
    ) -> gates.GateResult:
        prompts = [p.text for p in probes.spread(probes.load("prompts"), self._spec.probes.prompts)]
        limit = self._spec.probes.answer_tokens
        found = self._three(champion, candidate, model, "degeneration", lambda t: model.answers(prompts, limit, t))
        self._examples = tuple(
            Example(prompt=p, base=b.text, champion=o.text, candidate=n.text)
            for p, b, o, n in list(zip(prompts, *found, strict=True))[:: max(1, len(prompts) // EXAMPLES)][:EXAMPLES]
        )
        self._talks = [model.rendered(p, answer.text) for p, answer in zip(prompts, found[2], strict=True)]
        base, old, new = map(_flags, found)
        return gates.degeneration(self._spec.gates, gates.Degeneration(base=base, champion=old, candidate=new))

    def _parity(self) -> gates.GateResult:
        spec = self._spec
        count = spec.probes.parity_prompts
        texts = self._talks[:count] or [probe.text for probe in probes.spread(probes.load("neutral_texts"), count)]
        seen = onnx_parity.check_parity(
            spec.base_dir,
            spec.graph_dir,
            texts,
            adapter_file=spec.adapter_file,
            slot_file=self._job_dir / SLOT_FILE,
            graph=spec.graph,
            threads=spec.threads,
        )
        return gates.parity(spec.gates, gates.Parity(positions=seen.positions, kl=seen.kl, top1=seen.top1))

    def _three(
        self,
        champion: TrainedAdapter | None,
        candidate: TrainedAdapter,
        model: EvaluationModel,
        phase: str,
        measure: Callable[[Callable[[int, int], None]], T],
    ) -> tuple[T, T, T]:
        """`measure` with base, champion and candidate; the base once when it is the champion."""
        turns = 2 if champion is None else 3
        base = self._worn(model, None, phase, 0, turns, measure)
        old = base if champion is None else self._worn(model, champion, phase, 1, turns, measure)
        return base, old, self._worn(model, candidate, phase, turns - 1, turns, measure)

    def _worn(
        self,
        model: EvaluationModel,
        adapter: TrainedAdapter | None,
        phase: str,
        turn: int,
        turns: int,
        measure: Callable[[Callable[[int, int], None]], T],
    ) -> T:
        def tick(done: int, total: int) -> None:
            self._progress(phase, turn * total + done, turns * total)

        with model.wearing(adapter):
            return measure(tick)

    def _guarded(self, name: str, gate: Callable[[], gates.GateResult]) -> gates.GateResult:
        """A gate that breaks is a gate that was not measured; the others still run."""
        with self._phase(name):
            try:
                return gate()
            except Exception as error:
                return gates.unmeasured(name, f"{type(error).__name__}: {error}")

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        self._progress(name, 0, 1)
        yield
        self._seconds[name] = time.monotonic() - began
        self._progress(name, 1, 1)

    def _progress(self, phase: str, step: int, total: int) -> None:
        names = list(PARTS)
        before = sum(PARTS[name] for name in names[: names.index(phase)])
        fraction = min(1.0, before + PARTS[phase] * step / max(1, total))
        self._send(Progress(phase=phase, step=step, total=total, fraction=fraction, message=f"gate {phase}"))


def _flags(found: list[Answer]) -> gates.Answers:
    return gates.Answers(
        short=tuple(rules.is_short(answer.text) for answer in found),
        repetitive=tuple(rules.is_repetitive(answer.text) for answer in found),
        unfinished=tuple(not answer.ended for answer in found),
        words=tuple(len(answer.text.split()) for answer in found),
    )
