"""Sketches of prompts: alike for alike prompts, of one length, and nothing but numbers."""

from base64 import b64decode

import pytest

from pawl_shared.events import InteractionScored
from pawl_streams.sketch import SIZE, sketch


def numbers(text: str) -> list[int]:
    return list(memoryview(b64decode(sketch(text))).cast("b"))


def cosine(one: str, other: str) -> float:
    a, b = numbers(one), numbers(other)
    product = sum(x * y for x, y in zip(a, b, strict=True))
    return float(product / (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5)


def test_prompts_of_the_same_words_are_alike() -> None:
    assert sketch("What is the capital of France?") == sketch("what is  the capital OF France")
    near = cosine("What is the capital of France?", "What is the capital of Spain?")
    assert near > cosine("What is the capital of France?", "Write a haiku about autumn rain.") + 0.3


@pytest.mark.parametrize("text", ["a", "word " * 1000, "東京の天気は", "Ünïcödé \ud800 x", "1 2 3"])
def test_a_sketch_is_32_characters_and_passes_the_event(text: str) -> None:
    assert len(numbers(text)) == SIZE
    assert len(sketch(text)) == 32
    InteractionScored.__pydantic_validator__.validate_assignment(
        InteractionScored.model_construct(), "prompt_sketch", sketch(text)
    )


@pytest.mark.parametrize("text", ["", "  ", "?!"])
def test_no_words_no_sketch(text: str) -> None:
    assert sketch(text) == ""
