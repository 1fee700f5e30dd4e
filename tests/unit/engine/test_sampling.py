"""Sampling against small distributions that can be worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pawl_inference.engine import sampling as engine_sampling
from pawl_inference.engine.port import Sampling
from pawl_inference.engine.sampling import History, choose, largest, log_probabilities, penalise

LOGITS = np.log(np.array([0.1, 0.4, 0.3, 0.2], np.float32))


def drawn(sampling: Sampling, logits: np.ndarray = LOGITS, history: History | None = None) -> list[int]:
    """Tokens over an even grid of 100 random numbers."""
    return [choose(logits, sampling, history or History(), (n + 0.5) / 100) for n in range(100)]


def test_greedy_takes_the_likeliest_whatever_the_random_number() -> None:
    assert set(drawn(Sampling(temperature=0))) == {1}


def test_plain_sampling_follows_the_distribution() -> None:
    tokens = drawn(Sampling())
    assert [tokens.count(token) for token in range(4)] == [10, 40, 30, 20]


@pytest.mark.parametrize(
    "sampling", [Sampling(), Sampling(top_k=3), Sampling(top_p=0.5), Sampling(min_p=0.9), Sampling(temperature=0)]
)
def test_what_is_not_allowed_is_never_drawn(sampling: Sampling) -> None:
    allowed = np.array([True, False, False, True])
    tokens = [choose(LOGITS, sampling, History(), n / 100, allowed) for n in range(100)]
    assert set(tokens) <= {0, 3}
    assert choose(LOGITS, sampling, History(), 1 - 2**-53, allowed) in (0, 3)
    alone = np.array([True, False, False, False])
    assert choose(LOGITS, sampling, History(), 1 - 2**-53, alone) == 0
    if sampling == Sampling():
        assert tokens.count(3) == 66  # 0.2 of 0.3


def test_biases_ban_and_force_tokens_and_are_added_before_penalties() -> None:
    assert set(drawn(Sampling(logit_bias=((1, -100.0),)))) == {0, 2, 3}
    assert set(drawn(Sampling(logit_bias=((0, 100.0),)))) == {0}
    biased = penalise(LOGITS, Sampling(logit_bias=((1, 2.0),), repetition_penalty=2.0), History(frozenset({1})))
    np.testing.assert_allclose(biased, [LOGITS[0], (LOGITS[1] + 2) / 2, LOGITS[2], LOGITS[3]], rtol=1e-6)
    assert LOGITS[1] == np.log(np.float32(0.4))  # the engine's own buffer is left alone


def test_top_k_leaves_k_tokens() -> None:
    assert set(drawn(Sampling(top_k=2))) == {1, 2}


def test_top_p_leaves_the_smallest_set_that_reaches_it() -> None:
    assert set(drawn(Sampling(top_p=0.65))) == {1, 2}
    assert set(drawn(Sampling(top_p=0.75))) == {1, 2, 3}
    assert set(drawn(Sampling(top_p=1e-6))) == {1}


def test_min_p_drops_what_is_unlikely_beside_the_likeliest() -> None:
    assert set(drawn(Sampling(min_p=0.6))) == {1, 2}


@pytest.mark.parametrize("sampling", [Sampling(min_p=0.1), Sampling(min_p=0.1, top_p=0.999)])
def test_min_p_puts_only_what_it_leaves_into_order(sampling: Sampling, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of a vocabulary took 5 to 9 ms a token, about as long as a decode step."""
    asked: list[int] = [0]
    monkeypatch.setattr(engine_sampling, "largest", lambda values, count: asked.append(count) or largest(values, count))
    assert choose(np.linspace(-9, 9, 5000, dtype=np.float32), sampling, History(), 0.5) > 4000
    assert max(asked) < 1000


@given(
    st.sampled_from([0, 1, 7, 300, 999]),
    st.sampled_from([1e-9, 0.3, 0.9, 0.999, 1.0]),
    st.sampled_from([0, 0.01, 0.5, 1.0]),
    st.floats(0, 1, exclude_max=True),
    st.integers(0, 20),
)
def test_what_is_drawn_is_what_a_whole_sort_would_give(
    top_k: int, top_p: float, min_p: float, uniform: float, seed: int
) -> None:
    logits = np.random.default_rng(seed).normal(0, seed / 4, 3000).astype(np.float32)
    weights = np.exp(logits.astype(np.float64) - float(logits.max()))
    order = np.argsort(-weights, kind="stable")[: top_k or None]
    mass = np.cumsum(weights[order])
    order = order[: int(np.searchsorted(mass, top_p * mass[-1])) + 1]
    order = order[weights[order] >= min_p * weights[order[0]]]
    mass = np.cumsum(weights[order])
    expected = order[np.searchsorted(mass, uniform * mass[-1], side="right")]
    plain = not top_k and top_p == 1 and not min_p  # drawn in the order of ids
    assert plain or choose(logits, Sampling(top_k=top_k, top_p=top_p, min_p=min_p), History(), uniform) == expected


def test_top_p_is_a_share_of_what_top_k_left() -> None:
    assert set(drawn(Sampling(top_k=3, top_p=0.5))) == {1, 2}  # 0.4 of 0.9 is below one half


def test_low_temperature_sharpens() -> None:
    assert drawn(Sampling(temperature=0.1)).count(1) >= 94  # 0.4^10 against 0.3^10


def test_top_p_over_a_flat_distribution_looks_beyond_the_first_candidates() -> None:
    flat = np.zeros(2000, np.float32)
    tokens = [choose(flat, Sampling(top_p=0.9), History(), (n + 0.5) / 2000) for n in range(2000)]
    assert len(set(tokens)) == pytest.approx(1800, abs=2)


def test_penalties_change_only_what_was_said() -> None:
    history = History(prompt=frozenset({3}))
    history.answer.update([1, 1])
    scores = penalise(LOGITS, Sampling(presence_penalty=0.5, frequency_penalty=0.25), history)
    assert scores - LOGITS == pytest.approx([0, -1.0, 0, 0])
    halved = penalise(np.array([1, 2, -1, -2], np.float32), Sampling(repetition_penalty=2.0), history)
    assert halved.tolist() == [1, 1, -1, -4]


def test_log_probabilities_are_those_of_the_plain_distribution() -> None:
    chosen, top = log_probabilities(LOGITS, 0, 2)
    assert np.exp(chosen) == pytest.approx(0.1, rel=1e-5)
    assert [token for token, _ in top] == [1, 2]
    assert np.exp([value for _, value in top]) == pytest.approx([0.4, 0.3], rel=1e-5)


@given(
    st.lists(st.floats(-20, 20, width=32), min_size=2, max_size=400),
    st.integers(0, 500),
    st.floats(0.01, 1),
    st.floats(0, 1),
    st.floats(0, 1, exclude_max=True),
)
def test_a_token_is_always_drawn_and_never_one_that_was_cut(
    values: list[float], top_k: int, top_p: float, min_p: float, uniform: float
) -> None:
    logits = np.array(values, np.float32)
    token = choose(logits, Sampling(top_k=top_k, top_p=top_p, min_p=min_p), History(), uniform)
    larger = int((logits > logits[token]).sum())
    assert 0 <= token < len(values)
    assert top_k == 0 or larger < top_k
    assert np.exp(float(logits[token]) - float(logits.max())) >= min_p * (1 - 1e-6)


@given(st.integers(1, 5000), st.integers(1, 300), st.integers(0, 2), st.integers(0, 2**32 - 1))
def test_the_largest_are_those_of_a_stable_sort(size: int, count: int, digits: int, seed: int) -> None:
    values = np.round(np.random.default_rng(seed).normal(0, 2, size), digits)
    expected = np.argsort(-values, kind="stable")[:count]
    assert largest(values, count).tolist() == expected.tolist()
