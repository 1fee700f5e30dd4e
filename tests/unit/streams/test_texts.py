"""What is done to an answer's texts before anything is stored."""

from support.samples import INFERENCE

from pawl_shared.events import InferenceLogged
from pawl_streams.policy import ScrubPolicy
from pawl_streams.texts import prepare


def test_the_tools_and_what_bound_an_answer_are_scrubbed_too() -> None:
    tools = '[{"type": "function", "function": {"name": "mail", "description": "asks ada@example.org"}}]'
    event = INFERENCE.model_copy(update={"tools": tools, "bound": tools, "form": "tools"})
    clean, facts = prepare(event, ScrubPolicy(), lambda _: None)
    assert isinstance(clean, InferenceLogged)
    assert "ada@example.org" not in clean.tools
    assert '"name": "mail"' in clean.tools
    assert "ada@example.org" not in clean.bound
    assert sum(facts.scrubbed.values()) == 2
