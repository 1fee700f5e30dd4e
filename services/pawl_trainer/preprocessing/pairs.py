"""Pairs from thumbs: a liked and a disliked answer to the same prompt say what one alone cannot."""

from collections import defaultdict
from dataclasses import replace
from random import Random

from pawl_trainer.preprocessing.rows import Row


def mine_pairs(rows: list[Row], rng: Random) -> list[Row]:
    """One pair for every liked answer whose prompt has a disliked one too, in order of the liked answers.

    The disliked answers of a prompt are shuffled and dealt out in turn, so that none is used much more than another.
    """
    downs: dict[str, list[Row]] = defaultdict(list)
    ups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.kind == "binary":
            (ups if row.label else downs)[row.prompt_key].append(row)
    mined: list[Row] = []
    for prompt, liked in ups.items():
        disliked = sorted(downs.get(prompt, []), key=lambda row: row.texts)
        rng.shuffle(disliked)
        mined += [_pair(up, disliked[i % len(disliked)]) for i, up in enumerate(liked) if disliked]
    return mined


def _pair(up: Row, down: Row) -> Row:
    joined = up.with_lineage_of([down])
    return replace(
        joined, kind="pair", completion=None, label=None, chosen=up.completion, rejected=down.completion,
        finished=down.finished, weight=min(up.weight, down.weight),
    )  # fmt: skip
