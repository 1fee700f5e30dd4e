"""Nothing that the candidate is judged on may have trained it."""

from pawl_trainer.preprocessing.rows import Row


def drop_leaks(rows: list[Row]) -> tuple[list[Row], list[str]]:
    """The training rows whose prompt stands in no held-out row, and the reasons of the others."""
    prompts = {row.prompt_key for row in rows if row.split == "heldout"}
    kept: list[Row] = []
    reasons: list[str] = []
    for row in rows:
        if row.split == "heldout":
            reasons.append("kept for the evaluation")
        elif row.prompt_key in prompts:
            reasons.append("prompt is also held out")
        else:
            kept.append(row)
    return kept, reasons


def shared_subjects(rows: list[Row]) -> int:
    """How many people stand in both splits. Prompts are what is kept apart; this is for the report, since a taste that
    one person has alone would then look learnt on the held-out side, too."""
    sides = [{row.subject for row in rows if row.split == split and row.subject} for split in ("train", "heldout")]
    return len(sides[0] & sides[1])
