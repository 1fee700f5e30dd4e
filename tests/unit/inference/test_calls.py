"""Calls told from text, whatever pieces it comes in."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pawl_inference.domain.calls import Call, CallReader
from pawl_inference.engine.constraint import CallFormat

TAGGED = CallFormat("<tool_call>", "</tool_call>")
LISTED = CallFormat("<tool_call>", "</tool_call>", as_list=True)
BARE = CallFormat(key="parameters")
FORMATS = [TAGGED, LISTED, BARE]
WEATHER = Call("weather", '{"city": "Köln"}')
TIME = Call("time", "{}")


def read(form: CallFormat, *pieces: str) -> tuple[str, list[Call]]:
    """All text and all calls of an answer that comes in pieces."""
    reader = CallReader(form, ["weather", "time"])
    found = [*(reader.push(piece) for piece in pieces), reader.finish()]
    return "".join(each.text for each in found), [call for each in found for call in each.calls]


def written(form: CallFormat, *calls: Call) -> str:
    return form.write([(call.name, json.loads(call.arguments)) for call in calls])


@pytest.mark.parametrize("form", FORMATS)
def test_calls_as_the_format_writes_them(form: CallFormat) -> None:
    assert read(form, written(form, WEATHER)) == ("", [WEATHER])
    assert read(form, written(form, WEATHER, TIME)) == ("", [WEATHER, TIME])


def test_a_text_before_calls() -> None:
    assert read(TAGGED, f"Let me look.\n\n{written(TAGGED, WEATHER, TIME)}\n") == ("Let me look.", [WEATHER, TIME])


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>\n{"name": "news", "arguments": {}}\n</tool_call>',  # never offered
        '<tool_call>\n{"name": "weather", "arguments": [1]}\n</tool_call>',
        '<tool_call>\n{"name": "weather", "arguments": {}, "more": 1}\n</tool_call>',
        '<tool_call>\n{"name": "weather", "arguments": {"a": 1e999}}\n</tool_call>',
        '<tool_call>\n{"name": "weather", "argu',
        "<tool_call></tool_call>",
        "<tool_call>" + "[" * 100_000,
        "a < b <tool",
        "  two blanks  ",
    ],
)
def test_what_is_no_call_stays_text(text: str) -> None:
    assert read(TAGGED, text) == (text, [])
    assert read(TAGGED, *text[:200], text[200:]) == (text, [])


@pytest.mark.parametrize(
    "text", ['{"name": "news", "parameters": {}}', "[1, 2]", "{}", '{"name": "weather", "parameters": {', "  ", "Sure."]
)
def test_json_that_is_no_call_stays_text(text: str) -> None:
    assert read(BARE, text) == (text, [])


def test_a_malformed_call_hides_no_good_one() -> None:
    bad = '<tool_call>{"name": "news"}</tool_call>'
    assert read(TAGGED, bad + written(TAGGED, WEATHER)) == (bad, [WEATHER])


def test_an_end_mark_inside_an_argument() -> None:
    call = Call("weather", '{"city": "</tool_call>"}')
    assert read(TAGGED, written(TAGGED, call, TIME)) == ("", [call, TIME])


def test_arguments_as_a_string_and_half_a_surrogate_pair() -> None:
    text = '<tool_call>{"name": "weather", "arguments": "{\\"city\\": \\"Köln\\"}"}</tool_call>'
    assert read(TAGGED, text) == ("", [WEATHER])
    _, [call] = read(TAGGED, '<tool_call>{"name": "weather", "arguments": {"city": "\\ud800"}}</tool_call>')
    assert call.arguments == '{"city": "\\ud800"}'


def test_text_is_shown_as_soon_as_it_is_certain() -> None:
    reader = CallReader(TAGGED, ["time"])
    assert reader.push("Let me ").text == "Let me"
    assert reader.push("see <b").text == " see <b"
    assert reader.push(" <tool_").text == ""
    assert reader.push("kit> it is").text == " <tool_kit> it is"


@given(st.data())
def test_pieces_do_not_matter(data: st.DataObject) -> None:
    form = data.draw(st.sampled_from([TAGGED, LISTED]))
    parts = st.sampled_from(["text", " ", "\n", "<", "<tool_call>", "</tool_call>", "{", written(form, WEATHER), "x"])
    text = "".join(data.draw(st.lists(parts, max_size=8)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert read(form, *pieces) == read(form, text)
