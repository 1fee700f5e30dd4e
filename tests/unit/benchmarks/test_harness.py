"""The harness: fair turns, ratios within a round, verdicts, and results that name no machine."""

import json
import platform
from pathlib import Path

import pytest
from benchmarks import harness
from benchmarks.harness import MISSED, Benchmark, Spread, Target, judge, main, measure


def constant(value: float) -> harness.Run:
    return lambda: value


def benchmark(targets: list[Target]) -> Benchmark:
    return Benchmark(
        "sample", "items/s", {"ours": constant(30.0), "peer": constant(20.0)}, targets, ["pytest", "absent"]
    )


def test_variants_take_turns_and_each_round_starts_with_another() -> None:
    order: list[str] = []

    def variant(name: str) -> harness.Run:
        def run() -> float:
            order.append(name)
            return 1.0

        return run

    measure({"a": variant("a"), "b": variant("b")}, rounds=3)
    warm_up, rounds = order[:2], order[2:]
    assert warm_up == ["a", "b"]
    assert rounds == ["a", "b", "b", "a", "a", "b"]


def test_the_ratio_is_taken_within_a_round_so_that_a_slow_round_cancels_out() -> None:
    values = {"ours": [30.0, 3.0, 30.0], "peer": [20.0, 2.0, 20.0]}
    (outcome,) = judge([Target("ours", peer="peer", at_least=1.5)], values)
    assert outcome.ratio == Spread(1.5, 1.5, 1.5)
    assert outcome.value.median == 30.0
    assert outcome.met


@pytest.mark.parametrize(
    ("target", "met"),
    [
        (Target("ours", at_least=30), True),
        (Target("ours", at_least=30.1), False),
        (Target("ours", at_most=30), True),
        (Target("ours", at_most=29.9), False),
        (Target("ours", peer="peer", at_least=1.5, at_most=1.5), True),
        (Target("ours", peer="peer", at_least=1.6), False),
        (Target("ours", peer="peer", at_most=1.4), False),
    ],
)
def test_verdicts(target: Target, met: bool) -> None:
    (outcome,) = judge([target], {"ours": [30.0, 30.0], "peer": [20.0, 20.0]})
    assert outcome.met is met


def test_one_round_has_no_spread() -> None:
    with pytest.raises(ValueError, match="at least two rounds"):
        Spread.of([1.0])


def test_a_target_of_an_unknown_variant_is_an_error() -> None:
    with pytest.raises(KeyError):
        judge([Target("absent", at_least=1)], {"ours": [1.0, 1.0]})


def test_the_result_file_says_what_was_measured_and_where_but_names_no_host(tmp_path: Path) -> None:
    assert main(benchmark([Target("ours", peer="peer", at_least=1.2)]), ["--quick"], tmp_path) == 0
    text = (tmp_path / "sample.json").read_text()
    content = json.loads(text)
    assert content["quick"] is True
    assert content["rounds"] == 5
    assert content["unit"] == "items/s"
    (result,) = content["results"]
    assert (result["value"], result["peer"], result["ratio"]["median"], result["met"]) == (30.0, "peer", 1.5, True)
    assert result["target"] == {"at_least": 1.2, "at_most": None}
    assert content["machine"]["cores"] >= 1
    assert content["machine"]["cpu"]
    assert content["machine"]["libraries"] == {"pytest": pytest.__version__, "absent": "not installed"}
    assert str(tmp_path) not in text
    assert not platform.node() or f'"{platform.node()}"' not in text


def test_a_missed_target_sets_the_exit_status(tmp_path: Path) -> None:
    assert main(benchmark([Target("ours", peer="peer", at_least=2)]), ["--quick"], tmp_path) == MISSED


def test_without_quick_there_are_more_rounds(tmp_path: Path) -> None:
    main(benchmark([]), [], tmp_path)
    assert json.loads((tmp_path / "sample.json").read_text())["rounds"] == 15
