"""Answers under a grammar, drawn by a real engine: always valid, whatever else is in the batch."""

import asyncio
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.answers import GREEDY, Answer, answer, one_by_one, request, together
from support.tiny_engine import BASE, GRAPH, TinyServing

from pawl_inference.engine.constraint import Constraint, Function, JsonSchema
from pawl_inference.engine.grammar import ConstraintBrokenError, Matcher
from pawl_inference.engine.onnx_engine import OnnxEngine
from pawl_inference.engine.port import ConstraintError, GenerationRequest, Sampling, ToolsUnsupportedError
from pawl_inference.engine.settings import EngineSettings

pytestmark = pytest.mark.anyio
TEMPLATE = (
    "{% if tools %}<|im_start|>system\n{{ tools | tojson }}\n"
    'Write <tool_call>{"name": "f", "arguments": {}}</tool_call>'
    "<|im_end|>\n{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SCHEMA = {
    "type": "object",
    "properties": {
        "colour": {"enum": ["red", "green", "blue"]},
        "sizes": {
            "type": "array",
            "items": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2},
            "maxItems": 2,
        },
        "name": {"type": "string", "maxLength": 8},
    },
    "required": ["colour", "sizes", "name"],
    "additionalProperties": False,
}
BY_SCHEMA = Constraint(answer=JsonSchema.of(SCHEMA, strict=True))
PICK = Function(
    "pick", JsonSchema.of({"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"]}, strict=True)
)
WARM = Sampling(temperature=1.2, top_p=0.95, seed=5)


@pytest.fixture(scope="module")
def engine(tiny: TinyServing, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnnxEngine]:
    folder = Path(shutil.copytree(tiny.graph_folder, tmp_path_factory.mktemp("tools") / "graph"))
    (folder / "chat_template.jinja").unlink()
    (folder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    engine = OnnxEngine(folder, GRAPH, EngineSettings(max_batch=8, prefill_chunk=16))
    for version, path in tiny.slot_files.items():
        engine.publish(version, path)
    yield engine
    engine.close()


def constrained(
    engine: OnnxEngine,
    constraint: Constraint | None,
    sampling: Sampling = GREEDY,
    prompt: str = "Hi",
    version: str = BASE,
) -> GenerationRequest:
    return replace(request(engine, version, prompt, sampling, max_tokens=200), constraint=constraint)


def said(found: Answer) -> tuple[object, ...]:
    """All but what the prefix cache saved."""
    return found.text, found.tokens, found.finish_reason


@pytest.mark.parametrize("sampling", [GREEDY, WARM])
async def test_an_answer_follows_its_schema(engine: OnnxEngine, sampling: Sampling) -> None:
    found = await answer(engine, constrained(engine, BY_SCHEMA, sampling))
    content = json.loads(found.text)
    assert found.finish_reason == "stop"
    assert list(content) == ["colour", "sizes", "name"]
    assert content["colour"] in ("red", "green", "blue")
    assert len(content["name"]) <= 8
    assert all(isinstance(flag, bool) for pair in content["sizes"] for flag in pair)


async def test_an_answer_that_is_cut_says_so(engine: OnnxEngine) -> None:
    found = await answer(engine, replace(constrained(engine, BY_SCHEMA), max_tokens=4))
    assert (found.finish_reason, len(found.tokens)) == ("length", 4)


async def test_a_call_that_is_demanded_is_made(engine: OnnxEngine) -> None:
    assert engine.info.calls is not None
    found = await answer(engine, constrained(engine, Constraint(functions=(PICK,), must_call=True, max_calls=1)))
    assert found.finish_reason == "stop"
    opening, closing = engine.info.calls.opening, engine.info.calls.closing
    assert found.text.startswith(opening)
    call = json.loads(found.text.removeprefix(opening).removesuffix(closing))
    assert call in ({"name": "pick", "arguments": {"n": 1}}, {"name": "pick", "arguments": {"n": 2}})


async def test_neighbours_change_nothing_and_are_not_changed(engine: OnnxEngine, tiny: TinyServing) -> None:
    demanded = Constraint(functions=(PICK,), must_call=True, max_calls=2)
    offered = Constraint(functions=(PICK,))
    requests = [
        replace(constrained(engine, constraint, sampling, prompt, version), max_tokens=30)
        for constraint in (BY_SCHEMA, None, demanded, offered)
        for sampling in (GREEDY, WARM)
        for prompt, version in (("Hi", BASE), ("Why is the sky blue?", tiny.versions[0]))
    ]
    alone = [said(found) for found in await one_by_one(engine, requests)]
    assert [said(found) for found in await together(engine, requests)] == alone
    assert [said(found) for found in await together(engine, requests[::-1])] == alone[::-1]


async def test_logprobs_are_those_of_the_model(engine: OnnxEngine) -> None:
    free = replace(constrained(engine, None), max_tokens=1, top_logprobs=5)
    bound = replace(constrained(engine, BY_SCHEMA), max_tokens=1, top_logprobs=5)
    chunks = [[chunk async for chunk in engine.submit(wanted)] for wanted in (free, bound)]
    first, second = (next(logprob for chunk in each for logprob in chunk.logprobs) for each in chunks)
    assert first.top == second.top
    assert second.utf8.startswith(b"{")
    assert second.logprob < first.logprob


async def test_a_bad_schema_is_refused_and_harms_nobody(engine: OnnxEngine) -> None:
    running = asyncio.create_task(answer(engine, constrained(engine, BY_SCHEMA, WARM)))
    bad = Constraint(answer=JsonSchema.of({"type": "array", "uniqueItems": True}, strict=True))
    with pytest.raises(ConstraintError, match="uniqueItems"):
        engine.compile(bad)
    with pytest.raises(ConstraintError, match="uniqueItems"):
        engine.submit(constrained(engine, bad))
    assert json.loads((await running).text)
    assert engine.stats().waiting == 0


async def test_a_grammar_that_grows_too_complex_ends_its_own_answer_only(
    engine: OnnxEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(matcher: Matcher, token: int) -> bool:
        raise ConstraintBrokenError("too many expressions constructed")

    monkeypatch.setattr(Matcher, "accept", breaks)
    wanted = [constrained(engine, BY_SCHEMA), replace(constrained(engine, None), max_tokens=5)]
    generations = [engine.submit(each) for each in wanted]
    chunks = [[chunk async for chunk in generation] for generation in generations]
    broken, other = chunks[0][-1], chunks[1][-1]
    assert (broken.finish_reason, broken.error, broken.too_complex) == (
        "error",
        "too many expressions constructed",
        True,
    )
    assert other.finish_reason == "length"


async def test_tools_need_a_template_with_a_place_for_them(engine: OnnxEngine, tiny: TinyServing) -> None:
    tools = [{"type": "function", "function": {"name": "pick", "parameters": json.loads(PICK.parameters.text)}}]
    messages = [{"role": "user", "content": "Hi"}]
    assert len(engine.encode_chat(messages, tools)) > len(engine.encode_chat(messages))
    plain = OnnxEngine(tiny.graph_folder, GRAPH)
    try:
        assert plain.info.calls is None
        with pytest.raises(ToolsUnsupportedError, match="no place for tools"):
            plain.encode_chat(messages, tools)
    finally:
        plain.close()
