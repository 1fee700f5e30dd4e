"""Exact duplicates, and thumbs that contradict each other on one and the same answer."""

from collections import defaultdict
from dataclasses import replace

from pawl_trainer.preprocessing.rows import Row


def merge_duplicates(rows: list[Row]) -> tuple[list[Row], list[str]]:
    """Rows with equal kind, prompt and answers become one; thumbs on the same answer vote, and a tie drops it.

    Returns the rows left, in order of first appearance, and one reason for every row that is gone. A survivor carries
    the feedback ids of all rows it stands for.
    """
    groups: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[(row.kind, row.prompt_key, *row.texts)].append(row)
    kept: list[Row] = []
    reasons: list[str] = []
    for group in groups.values():
        winner = _vote(group) if group[0].kind == "binary" else group
        if winner:
            kept.append(replace(winner[0].with_lineage_of(winner[1:]), weight=max(row.weight for row in winner)))
        reasons += ["merged"] * max(len(winner) - 1, 0)
        reasons += ["outvoted" if winner else "contradictory thumbs"] * (len(group) - len(winner))
    return kept, reasons


def _vote(group: list[Row]) -> list[Row]:
    ups = [row for row in group if row.label]
    downs = [row for row in group if not row.label]
    if len(ups) == len(downs):
        return []
    return ups if len(ups) > len(downs) else downs
