"""From what people said about an answer to a reward in [0, 1], by policy. Pure."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable

from rapidfuzz.distance import Levenshtein

from pawl_shared.events import FeedbackReceived
from pawl_shared.policies.reward_policy import RewardPolicy, Scale

# Kinds by which a person or an app judges an answer; signals and metrics are only hints.
EXPLICIT = frozenset(("thumb", "rating", "correction", "comparison", "outcome"))
SKETCHED_WORDS = 256


def score(feedback: FeedbackReceived, policy: RewardPolicy) -> float | None:
    """One statement on the scale from 0 (bad) to 1 (good); None: it says nothing about that, or (a correction) only
    together with the answer. A rating of 1 to 5 is mapped linearly."""
    value, weight = feedback.value, policy.of(feedback.kind, feedback.name)
    if value is None or weight is None:
        return None
    if isinstance(weight, Scale):
        value = (value - weight.bad) / (weight.good - weight.bad)
    elif feedback.kind == "rating":
        value = (value - 1.0) / 4.0
    return min(max(value, 0.0), 1.0)


def sketch(text: str) -> str:
    """A text's first 256 words, one byte each (base64): enough to compare two texts. One in 256 words looks like any
    other, so that the text can hardly be read from it."""
    words = text.split(maxsplit=SKETCHED_WORDS)[:SKETCHED_WORDS]
    return base64.b64encode(bytes(zlib.crc32(word.encode("utf-8", "surrogatepass")) & 0xFF for word in words)).decode()


def correction_score(answer: str, correction: str, unchanged: float) -> float:
    """What an answer is worth that somebody corrected, from both sketches: 1 minus the share of words to be edited
    (Levenshtein's distance over the longer length), with `unchanged` and less mapped to 0."""
    if unchanged >= 1.0 or not answer or not correction:
        return 0.0
    kept = Levenshtein.normalized_similarity(base64.b64decode(answer), base64.b64decode(correction))
    return max(0.0, (kept - unchanged) / (1.0 - unchanged))


def reward(scores: Iterable[tuple[str, float, float]], policy: RewardPolicy) -> tuple[float | None, bool]:
    """The weighted mean of the latest statements, and whether anybody judged the answer.

    Args:
        scores: slot (`kind` or `kind/name`), score in [0, 1], share of the slot's weight.
    """
    total = weights = 0.0
    rated = False
    for slot, value, share in sorted(scores):  # sorted: a sum of floats depends on their order
        kind, _, name = slot.partition("/")
        weight = policy.of(kind, name)
        if weight is None:
            continue
        total += weight.weight * share * (0.5 + weight.trust * (value - 0.5))
        weights += weight.weight * share
        rated = rated or kind in EXPLICIT
    return (min(max(total / weights, 0.0), 1.0) if weights > 0 else None), rated
