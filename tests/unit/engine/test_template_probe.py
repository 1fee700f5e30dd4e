"""What real chat templates do with tools, as TRL ships them, and what SmolLM2's do."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from pawl_inference.engine.chat_template import ChatTemplate
from pawl_inference.engine.constraint import CallFormat
from pawl_inference.engine.port import ToolsUnsupportedError

TRL = find_spec("trl")
assert TRL is not None
assert TRL.origin is not None
TEMPLATES = Path(TRL.origin).parent / "chat_templates"
TAGGED = CallFormat("<tool_call>", "</tool_call>")
PLAIN = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
# As SmolLM2-1.7B-Instruct does it: tells the model how to call, and shows no calls of its own.
LISTING = (
    '{% if tools %}{{ tools | tojson }}\nUse <tool_call>[{"name": "f", "arguments": {}}]</tool_call>\n{% endif %}'
    + PLAIN
)
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": {"city": "Köln"}}}
CONVERSATION = [
    {"role": "user", "content": "Weather?"},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "name": "get_weather", "tool_call_id": "call_1", "content": "18 degrees"},
]


def template(folder: Path, source: str) -> ChatTemplate:
    (folder / "chat_template.jinja").write_text(source, encoding="utf-8")
    return ChatTemplate(folder, {"bos_token": "<s>", "eos_token": "</s>"})


@pytest.mark.parametrize(
    ("name", "expected"),
    [("qwen2_5", TAGGED), ("qwen3", TAGGED), ("llama3_1", CallFormat(key="parameters"))],
)
def test_a_template_with_tools(tmp_path: Path, name: str, expected: CallFormat) -> None:
    found = template(tmp_path, (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8"))
    assert found.calls == expected
    shown = found.render(CONVERSATION, TOOLS)
    assert expected.write([("get_weather", {"city": "Köln"})]) in shown
    assert "18 degrees" in shown
    assert '"name": "get_weather"' in found.render(CONVERSATION[:1], TOOLS)


@pytest.mark.parametrize("name", ["llama3", "deepseek_r1_distill", "qwen2_5_vl"])
def test_a_template_without_tools(tmp_path: Path, name: str) -> None:
    found = template(tmp_path, (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8"))
    assert found.calls is None
    with pytest.raises(ToolsUnsupportedError, match="no place for tools"):
        found.render(CONVERSATION[:1], TOOLS)


@pytest.mark.parametrize("name", ["glm4moe", "gptoss", "lfm2", "qwen3_6"])
def test_a_format_that_is_no_json_is_not_mistaken_for_one(tmp_path: Path, name: str) -> None:
    found = template(tmp_path, (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8"))
    assert found.calls is None


def test_a_template_that_takes_tools_without_a_word_shows_none(tmp_path: Path) -> None:
    plain = template(tmp_path, PLAIN)
    with pytest.raises(ToolsUnsupportedError, match="no place for tools"):
        plain.render(CONVERSATION[:1], TOOLS)
    with pytest.raises(ToolsUnsupportedError, match="no place for calls"):
        plain.render(CONVERSATION, None)


def test_results_that_would_be_lost_are_refused(tmp_path: Path) -> None:
    deaf = template(tmp_path, "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}")
    with pytest.raises(ToolsUnsupportedError, match="role `tool`"):
        deaf.render(CONVERSATION[2:], None)


def test_calls_are_written_out_where_the_template_shows_none(tmp_path: Path) -> None:
    found = template(tmp_path, LISTING)
    assert found.calls == CallFormat("<tool_call>", "</tool_call>", as_list=True)
    assert '<tool_call>[{"name": "get_weather", "arguments": {"city": "Köln"}}]</tool_call><|im_end|>' in found.render(
        CONVERSATION, TOOLS
    )
