"""All preprocessing steps in order: rows of a snapshot in, training material and a quality report out."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from pawl_trainer.preprocessing.cleaning import clean_row, cut_model, malformed
from pawl_trainer.preprocessing.duplicates import merge_duplicates
from pawl_trainer.preprocessing.leakage import drop_leaks, shared_subjects
from pawl_trainer.preprocessing.pairs import mine_pairs
from pawl_trainer.preprocessing.report import QualityReport
from pawl_trainer.preprocessing.rows import Row


@dataclass(frozen=True, slots=True)
class Material:
    """What a recipe can learn from. Explicit pairs are corrections and comparisons, mined ones come from thumbs."""

    explicit_pairs: tuple[Row, ...]
    mined_pairs: tuple[Row, ...]
    ups: tuple[Row, ...]
    downs: tuple[Row, ...]
    demonstrations: tuple[Row, ...]


def prepare(
    rows: list[Row], *, length: Callable[[Row], int], max_length: int, rng: Random
) -> tuple[Material, QualityReport]:
    """Clean, drop, merge, limit and sort `rows` into material.

    `length` gives the tokens of a row's prompt with its longest answer. Rows above `max_length` tokens are dropped, not
    cut: a cut answer would teach a false end.
    """
    report = QualityReport()
    report.counts = {"snapshot": len(rows), "subjects_in_both_splits": shared_subjects(rows)}
    rows = [clean_row(row) for row in rows]
    rows = _step(report, "split", rows, drop_leaks)
    rows = _step(report, "well-formed", rows, lambda given: _filter(given, malformed))
    rows = _step(report, "duplicates", rows, merge_duplicates)
    rows = _step(report, "finished", rows, lambda given: _filter(given, cut_model))
    lengths = {id(row): length(row) for row in rows}
    too_long = f"longer than {max_length} tokens"
    rows = _step(
        report,
        "length",
        rows,
        lambda given: _filter(given, lambda r: too_long if lengths[id(r)] > max_length else None),
    )
    report.measure([lengths[id(row)] for row in rows])
    material = _sort(rows, rng)
    report.counts |= {name: len(getattr(material, name)) for name in Material.__slots__}
    _warn(report, material)
    return material, report


def _step(
    report: QualityReport, name: str, rows: list[Row], step: Callable[[list[Row]], tuple[list[Row], list[str]]]
) -> list[Row]:
    kept, reasons = step(rows)
    report.add(name, len(rows), len(kept), reasons)
    return kept


def _filter(rows: list[Row], why_not: Callable[[Row], str | None]) -> tuple[list[Row], list[str]]:
    verdicts = [(row, why_not(row)) for row in rows]
    return [row for row, why in verdicts if why is None], [why for _, why in verdicts if why is not None]


def _sort(rows: list[Row], rng: Random) -> Material:
    explicit = [row for row in rows if row.kind == "pair"]
    binary = [row for row in rows if row.kind == "binary"]
    return Material(
        # Corrections first: a person wrote down what they wanted, while a comparison only picks the lesser evil.
        # Then the newest: a run takes them from the front.
        explicit_pairs=tuple(sorted(explicit, key=lambda row: (row.origin != "correction", -row.time.timestamp()))),
        mined_pairs=tuple(mine_pairs(binary, rng)),
        ups=tuple(row for row in binary if row.label),
        downs=tuple(row for row in binary if not row.label),
        demonstrations=tuple(row for row in rows if row.kind == "demonstration"),
    )


def _warn(report: QualityReport, material: Material) -> None:
    ups, downs = len(material.ups), len(material.downs)
    if ups + downs >= 20 and min(ups, downs) < 0.1 * (ups + downs):
        rare = "liked" if ups < downs else "disliked"
        report.warnings.append(
            f"{min(ups, downs) or 'none'} of {ups + downs} usable rated answers were {rare}: thumbs alone would be "
            "mostly noise; corrections and comparisons teach more"
        )
    leaks = sum(n for step in report.steps for reason, n in step.dropped.items() if "also held out" in reason)
    if leaks:
        report.warnings.append(f"{leaks} rows had a prompt that stands in both splits, and were not trained on")
