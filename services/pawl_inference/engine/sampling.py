"""Draws the next token. Pure: the random number is an argument."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pawl_inference.engine.port import Sampling

# Candidates that are looked at before the whole vocabulary is sorted, and how many times as many follow where these do
# not have the mass that top_p asks for: 256 hold 0.95 of it almost always. Picking 256 of a 49k vocabulary takes 0.04
# ms, 2,048 take 0.2 ms, 16,384 take 1.5 ms, and all of them 6 ms.
_FIRST_CANDIDATES, _MORE_CANDIDATES = 256, 8
_BLOCK = 32  # 1,536 maxima of a 49k vocabulary; some 290 values reach the 256th of them

# Below, the likeliest token has all of the mass; and at 1e-308 the division overflows.
_GREEDY_BELOW = 1e-5

Logits = NDArray[np.float32]


@dataclass
class History:
    """Tokens that penalties look at: repetition counts prompt and answer, presence and frequency the answer only."""

    prompt: frozenset[int] = frozenset()
    answer: Counter[int] = field(default_factory=Counter)


def choose(
    logits: Logits, sampling: Sampling, history: History, uniform: float, allowed: NDArray[np.bool_] | None = None
) -> int:
    """Pick a token from logits [vocabulary] by inverse transform of `uniform` in [0, 1), among those `allowed`.

    Order: biases, penalties, what is allowed, temperature, top_k, top_p (nucleus, Holtzman et al. 2019,
    arXiv:1904.09751), min_p (Nguyen et al. 2024, arXiv:2407.01082).
    """
    scores = penalise(logits, sampling, history)
    if allowed is not None:
        scores = np.where(allowed, scores, np.float32(-np.inf))
    if sampling.temperature < _GREEDY_BELOW:
        return int(scores.argmax())
    scaled = scores.astype(np.float64) / sampling.temperature
    weights = np.exp(scaled - scaled.max())
    if sampling.top_k <= 0 and sampling.top_p >= 1 and sampling.min_p <= 0:
        return _draw(np.arange(len(weights)), weights, uniform)
    tokens = _candidates(weights, sampling)
    return _draw(tokens, weights[tokens], uniform)


def penalise(logits: Logits, sampling: Sampling, history: History) -> Logits:
    """Logits with their biases and penalties: presence and frequency (OpenAI), repetition (Keskar et al. 2019,
    arXiv:1909.05858)."""
    additive = sampling.presence_penalty != 0 or sampling.frequency_penalty != 0
    if not additive and not sampling.logit_bias and sampling.repetition_penalty == 1:
        return logits
    scores = logits.copy()
    for token, bias in sampling.logit_bias:
        scores[token] += np.float32(bias)
    if sampling.repetition_penalty != 1:
        seen = np.fromiter(history.prompt | history.answer.keys(), np.int64)
        values = scores[seen]
        penalty = np.float32(sampling.repetition_penalty)
        scores[seen] = np.where(values > 0, values / penalty, values * penalty)
    if additive and history.answer:
        tokens = np.fromiter(history.answer.keys(), np.int64)
        counts = np.fromiter(history.answer.values(), np.float32)
        scores[tokens] -= np.float32(sampling.presence_penalty) + np.float32(sampling.frequency_penalty) * counts
    return scores


def log_probabilities(logits: Logits, token: int, top: int) -> tuple[float, list[tuple[int, float]]]:
    """Log-probability of a token, and the `top` likeliest tokens with theirs, before temperature."""
    shifted = logits.astype(np.float64) - float(logits.max())
    normaliser = float(np.log(np.exp(shifted).sum()))
    likeliest = largest(shifted, top) if top else np.array([], np.int64)
    return float(shifted[token]) - normaliser, [(int(i), float(shifted[i]) - normaliser) for i in likeliest]


def _candidates(weights: NDArray[np.float64], sampling: Sampling) -> NDArray[np.int64]:
    """Tokens that top_k, top_p and min_p leave, likeliest first."""
    if 0 < sampling.top_k < len(weights):
        tokens = largest(weights, sampling.top_k)
        total = float(weights[tokens].sum())  # top_p is a share of what top_k left
    else:
        total = float(weights.sum())
        tokens = _likeliest(weights, sampling, sampling.top_p * total)
    if sampling.top_p < 1:
        tokens = tokens[: int(np.searchsorted(np.cumsum(weights[tokens]), sampling.top_p * total)) + 1]
    likely: NDArray[np.bool_] = weights[tokens] >= sampling.min_p * weights[tokens[0]]
    return tokens[likely]


def _likeliest(weights: NDArray[np.float64], sampling: Sampling, enough: float) -> NDArray[np.int64]:
    """The likeliest tokens, at least those that min_p leaves of the first ones that have the mass `enough` together."""
    if sampling.min_p > 0:
        return _ordered(weights, np.flatnonzero(weights >= sampling.min_p * weights.max()))
    count = _FIRST_CANDIDATES
    while count < len(weights):
        tokens = largest(weights, count)
        if weights[tokens].sum() >= enough:
            return tokens
        count *= _MORE_CANDIDATES
    return largest(weights, len(weights))


def largest(values: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Indices of the `count` largest values, largest first, the lower index first among equals."""
    found = np.flatnonzero(values >= _bound(values, count)) if count < len(values) else np.arange(len(values))
    return _ordered(values, found)[:count]


def _ordered(values: NDArray[np.float64], found: NDArray[np.int64]) -> NDArray[np.int64]:
    return found[np.argsort(-values[found], kind="stable")]


def _bound(values: NDArray[np.float64], count: int) -> float:
    """A value that at least `count` others reach: the count-th largest of the blocks' maxima.

    It lets through some more than `count`, and never cuts between equals; 8 times cheaper than a partition of 49k.
    """
    blocks = len(values) // _BLOCK
    if blocks < count:
        return float(np.partition(values, len(values) - count)[len(values) - count])
    # groups of values that lie apart, so that their maxima are taken along contiguous rows
    maxima = values[: blocks * _BLOCK].reshape(_BLOCK, blocks).max(axis=0)
    return float(np.partition(maxima, blocks - count)[blocks - count])


def _draw(tokens: NDArray[np.int64], weights: NDArray[np.float64], uniform: float) -> int:
    mass = np.cumsum(weights)
    # Below the whole mass, or rounding could draw a token behind it that has no weight.
    point = min(uniform * mass[-1], np.nextafter(mass[-1], 0))
    return int(tokens[np.searchsorted(mass, point, side="right")])
