"""Streaming text: whole characters, stop strings, nothing lost and nothing taken back."""

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.small_tokenizer import END, write_small_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from pawl_inference.engine.text import TextCodec, TextStream


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> TextCodec:
    """A byte-level tokenizer without merges: each token is one byte, the worst case for streaming."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={symbol: index for index, symbol in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<end>"])
    folder = tmp_path_factory.mktemp("codec")
    tokenizer.save(str(folder / "tokenizer.json"))
    return TextCodec(folder)


def streamed(codec: TextCodec, text: str, stop: tuple[str, ...] = ()) -> tuple[list[str], bool]:
    stream = TextStream(codec, stop)
    pieces = [stream.push(token) for token in codec.encode(text, special=False)]
    return [*pieces, stream.finish()], stream.stopped


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_pieces_add_up_to_the_text(codec: TextCodec, text: str) -> None:
    pieces, _ = streamed(codec, text)
    assert "".join(pieces).replace("\ufffd", "") == text.replace("\ufffd", "")


def test_a_character_comes_whole_or_not_at_all(codec: TextCodec) -> None:
    pieces, _ = streamed(codec, "né👍🏽中")
    assert [piece for piece in pieces if piece] == ["n", "é", "👍", "🏽", "中"]


def test_an_answer_cut_inside_a_character_ends_before_it(codec: TextCodec) -> None:
    stream = TextStream(codec, ())
    tokens = codec.encode("ok 👍", special=False)
    assert "".join(stream.push(token) for token in tokens[:-1]) + stream.finish() == "ok "


def test_others_go_on_while_a_long_text_is_encoded(codec: TextCodec) -> None:
    begins, ended, others = threading.Barrier(2), threading.Event(), 0

    def encode() -> None:
        begins.wait()
        codec.encode("7" * 300_000, special=False)
        ended.set()

    threading.Thread(target=encode).start()
    begins.wait()
    while not ended.wait(0.001):
        others += 1
    assert others > 5


def test_special_tokens_are_not_shown(codec: TextCodec) -> None:
    assert "".join(streamed(codec, "a<end>b")[0]) == "ab"


def test_a_stop_string_ends_the_text_before_it(codec: TextCodec) -> None:
    pieces, stopped = streamed(codec, "one two\n\nthree", stop=("\n\n", "never"))
    assert ("".join(pieces), stopped) == ("one two", True)


def test_what_only_began_like_a_stop_string_is_given_out(codec: TextCodec) -> None:
    pieces, stopped = streamed(codec, "a END. ENDE", stop=("ENDING",))
    assert ("".join(pieces), stopped) == ("a END. ENDE", False)


@given(st.text("ab", max_size=12), st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3))
def test_stop_strings_cut_as_if_the_text_had_been_searched_token_by_token(
    codec: TextCodec, text: str, stop: list[str]
) -> None:
    expected = text
    for end in range(1, len(text) + 1):
        starts = [at for word in stop if (at := text[:end].find(word)) >= 0]
        if starts:
            expected = text[: min(starts)]
            break
    assert "".join(streamed(codec, text, tuple(stop))[0]) == expected


@pytest.mark.parametrize("special", [False, True])
def test_marks_of_calls_are_seen_also_where_the_tokenizer_calls_them_special(tmp_path: Path, special: bool) -> None:
    write_small_tokenizer(tmp_path, special_marks=special)
    codec = TextCodec(tmp_path)
    tokens = codec.encode(f"<tool_call>{{}}</tool_call>{END}", special=False)
    assert len(tokens) < 8  # the marks are tokens of their own
    assert codec.decode(tokens) == "<tool_call>{}</tool_call>"
