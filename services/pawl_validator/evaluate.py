"""One evaluation, as a child process: `python -m pawl_validator.evaluate JOB_DIR`.

Reads spec.json; writes progress.jsonl, slots.safetensors (the candidate as it will be served) and report.json, and at
last result.json. A candidate that fails is a result; error.json means that there could be no evaluation at all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pawl_shared.child import Reporter, run_child
from pawl_validator.evaluation.measure import SLOT_FILE, Evaluation
from pawl_validator.evaluation.report import EvaluationSpec

REPORT_FILE = "report.json"


def work(job_dir: Path, report: Reporter) -> dict[str, Any]:
    """The whole evaluation; answers what goes into result.json."""
    spec = EvaluationSpec.model_validate_json((job_dir / "spec.json").read_text(encoding="utf-8"))
    found = Evaluation(spec, job_dir, report).run()
    (job_dir / REPORT_FILE).write_text(found.model_dump_json(indent=2), encoding="utf-8")
    return {
        "passed": found.passed,
        "report": REPORT_FILE,
        "slot_file": SLOT_FILE if (job_dir / SLOT_FILE).exists() else None,
    }


if __name__ == "__main__":
    run_child(work)
