"""Renders conversations with the base model's own chat template, in a sandbox (a template is code from a model hub)."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pawl_inference.engine import template_probe
from pawl_inference.engine.port import ChatTemplateError, ToolsUnsupportedError
from pawl_shared.models.graph_spec import TEMPLATE_FILE


class ChatTemplate:
    """A compiled chat template with the model's special tokens."""

    def __init__(self, graph_folder: Path, special_tokens: Mapping[str, str]) -> None:
        source = (graph_folder / TEMPLATE_FILE).read_text(encoding="utf-8")
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda layout: datetime.now(UTC).strftime(layout)
        self._template = environment.from_string(source)
        self._tokens = dict(special_tokens)
        self._place = template_probe.probe(source, self._fill)
        self.calls = self._place.calls

    def render(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None) -> str:
        """The prompt of a conversation, up to where the assistant's answer begins.

        Raises:
            ChatTemplateError: the template refuses the messages.
            ToolsUnsupportedError: it has no place for tools, or for calls and results in the messages.
        """
        if tools and self._place.calls is None:
            raise ToolsUnsupportedError(self._place.reason)
        return self._fill([self._place.fit(message) for message in messages], tools)

    def _fill(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None) -> str:
        try:
            return self._template.render(
                messages=list(messages),
                tools=list(tools) if tools else None,
                add_generation_prompt=True,
                **self._tokens,
            )
        except (TemplateError, TypeError, ValueError, AttributeError, LookupError) as error:
            raise ChatTemplateError(f"the chat template cannot render these messages: {error}") from error


def _to_json(value: Any, indent: int | None = None) -> str:
    """As transformers does it: plain JSON, nothing escaped for HTML."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)
