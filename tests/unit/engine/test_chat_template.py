"""Chat templates run in a sandbox and refuse clearly."""

from pathlib import Path

import pytest

from pawl_inference.engine.chat_template import ChatTemplate
from pawl_inference.engine.port import ChatTemplateError

MESSAGES = [{"role": "user", "content": "Is 1 < 2 & 3?"}]


def template(folder: Path, source: str) -> ChatTemplate:
    (folder / "chat_template.jinja").write_text(source, encoding="utf-8")
    return ChatTemplate(folder, {"bos_token": "<s>"})


def test_messages_special_tokens_and_the_turn_marker(tmp_path: Path) -> None:
    source = (
        "{{ bos_token }}{% for message in messages %}[{{ message['role'] }}]{{ message.content }}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    assert template(tmp_path, source).render(MESSAGES, None) == "<s>[user]Is 1 < 2 & 3?[assistant]"


def test_a_refusal_of_the_template_says_why(tmp_path: Path) -> None:
    with pytest.raises(ChatTemplateError, match="roles must alternate"):
        template(tmp_path, "{{ raise_exception('roles must alternate') }}").render(MESSAGES, None)


def test_a_template_cannot_reach_python(tmp_path: Path) -> None:
    with pytest.raises(ChatTemplateError):
        template(tmp_path, "{{ ''.__class__.__mro__[1].__subclasses__() }}").render(MESSAGES, None)
