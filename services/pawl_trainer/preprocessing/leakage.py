"""Nothing that the candidate is judged on may have trained it."""

from pawl_trainer.preprocessing.rows import Row


def drop_leaks(rows: list[Row]) -> tuple[list[Row], list[str]]:
    """The training rows whose prompt and subject stand in no held-out row, and the reasons of the others.

    Rows without a subject (anonymous requests) are compared by prompt only.
    """
    heldout = [row for row in rows if row.split == "heldout"]
    prompts = {row.prompt_key for row in heldout}
    subjects = {row.subject for row in heldout if row.subject}
    kept: list[Row] = []
    reasons: list[str] = []
    for row in rows:
        if row.split == "heldout":
            reasons.append("kept for the evaluation")
        elif row.prompt_key in prompts:
            reasons.append("prompt is also held out")
        elif row.subject in subjects:
            reasons.append("subject is also held out")
        else:
            kept.append(row)
    return kept, reasons
