import pytest
from support.tiny_engine import toy_spec

from pawl_inference.engine.pieces import Cuts, fixed, free, of


def cuts_of(cuts: Cuts, length: int, past: int) -> list[tuple[int, int]]:
    found = []
    while past < length:
        found.append(cuts.piece(length, past))
        past = found[-1][1]
    return found


@pytest.mark.parametrize("cuts", [fixed(64), free(64), fixed(16), free(16), free(5)])
def test_a_prompt_is_read_to_its_end_in_pieces_that_may_be_summed_alike(cuts: Cuts) -> None:
    for length in range(1, 300):
        for known in range(0, cuts.reusable(length) + 1, cuts.grain):
            past = known
            for start, stop in cuts_of(cuts, length, known):
                assert start <= past < stop <= start + cuts.longest
                assert stop - start >= min(length, cuts.shortest)
                assert stop - start == 1 or not cuts.block or (stop - start) % cuts.block != 1
                past = stop
            assert past == length


def test_where_sums_depend_on_their_neighbours_every_prompt_is_cut_at_the_same_places() -> None:
    cuts = fixed(64)
    for length in range(1, 300):
        whole = cuts_of(cuts, length, 0)
        assert [stop for _, stop in whole[:-1]] == list(range(64, length, 64))
        for known in range(0, cuts.reusable(length) + 1, 64):
            assert cuts_of(cuts, length, known) == whole[known // 64 :]


def test_a_piece_is_always_left_to_read_and_one_token_leaves_nothing() -> None:
    assert [fixed(64).reusable(length) for length in (1, 64, 65, 420)] == [0, 0, 64, 384]
    assert [free(64).reusable(length) for length in (1, 17, 18, 420)] == [0, 0, 16, 416]
    assert [free(16).keepable(length, length) for length in (1, 16, 33)] == [0, 16, 32]
    assert free(1).keepable(1, 1) == 0


@pytest.mark.parametrize(
    ("form", "precision", "base", "adapter"),
    [
        ("pawl.graph.v2", "int8", free(64), free(64)),
        ("pawl.graph.v1", "int8", free(64), fixed(64)),  # masks: tokens are the columns of an adapter's products
        ("pawl.graph.v2", "fp32", fixed(64), fixed(64)),
        ("pawl.graph.v1", "fp16", fixed(64), fixed(64)),
    ],
)
def test_only_exact_sums_let_a_prompt_be_cut_anywhere(form: str, precision: str, base: Cuts, adapter: Cuts) -> None:
    spec = toy_spec().model_copy(update={"format": form, "precision": precision})
    assert (of(spec, 64, adapted=False), of(spec, 64, adapted=True)) == (base, adapter)
