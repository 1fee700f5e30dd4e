"""tools and response_format over HTTP, on a fake engine."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient
from support.inference import World, eventually, running
from unit.inference.test_http import CHAT, ask, frames

from pawl_inference.engine.constraint import MAX_CALLS, CallFormat, Constraint, Function, JsonSchema
from pawl_shared.topics import INFERENCES

FORM = CallFormat("<tool_call>", "</tool_call>")
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
EMPTY = {"type": "object", "properties": {}}
CALL = FORM.write([("get_weather", {"city": "Köln"})])
PERSON = {"type": "object", "properties": {"name": {"type": "string"}}}


def tool(name: str = "get_weather", **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": CITY, **fields}}


def by_schema(schema: object, **fields: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "person", "schema": schema, **fields}}


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth // 2):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


class ToolWorld(World):
    """With a client."""

    client: TestClient


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ToolWorld]:
    """One service for all: each test says what the engine says, and looks at the last request."""
    world = ToolWorld(tmp_path_factory.mktemp("tools"))
    world.deploy(1)
    with running(world) as service:
        eventually(lambda: service.health.ready)
        world.client = TestClient(service.asgi, raise_server_exceptions=False)
        yield world


@pytest.fixture(autouse=True)
def engine(world: ToolWorld) -> Any:
    engine = world.engine
    engine.info = replace(engine.info, calls=FORM)
    engine.said, engine.too_complex = None, False
    return engine


def post(world: ToolWorld, **fields: Any) -> Any:
    body = json.dumps(ask(**fields))
    return world.client.post(CHAT, content=body, headers={"content-type": "application/json"})


def entry(world: ToolWorld, body: dict[str, Any]) -> Any:
    """What was logged of an answer."""
    return eventually(lambda: [each for each in world.read(INFERENCES) if str(each.inference_id) == body["id"]])[0]


def refused(world: ToolWorld, **fields: Any) -> tuple[str, str]:
    response = post(world, **fields)
    error = response.json()["error"]
    assert response.status_code == 400
    return error["param"], error["message"]


# ---------------------------------------------------------------- what the engine is asked


@pytest.mark.parametrize(
    ("wanted", "answer"),
    [
        ({"type": "text"}, None),
        (None, None),
        ({"type": "json_object"}, JsonSchema.of({"type": "object"}, strict=True)),
        (by_schema(PERSON), JsonSchema.of(PERSON, strict=False)),
        (by_schema(PERSON, strict=True), JsonSchema.of(PERSON, strict=True)),
    ],
)
def test_response_format_is_what_the_answer_must_be(
    world: ToolWorld, engine: Any, wanted: object, answer: JsonSchema | None
) -> None:
    assert post(world, response_format=wanted).status_code == 200
    assert engine.requests[-1].constraint == (Constraint(answer) if answer else None)


@pytest.mark.parametrize(
    ("fields", "names", "must", "most"),
    [
        ({}, None, False, 0),
        ({"tool_choice": "auto"}, None, False, 0),
        ({"tool_choice": "none"}, None, False, 0),
        ({"tool_choice": "required"}, ["get_weather", "tell"], True, MAX_CALLS),
        ({"tool_choice": "required", "parallel_tool_calls": False}, ["get_weather", "tell"], True, 1),
        ({"parallel_tool_calls": False}, ["get_weather", "tell"], False, 1),
        ({"tool_choice": {"type": "function", "function": {"name": "tell"}}}, ["tell"], True, 1),
    ],
)
def test_what_tool_choice_makes_of_the_answer(
    world: ToolWorld, engine: Any, fields: dict[str, Any], names: list[str] | None, must: bool, most: int
) -> None:
    assert post(world, tools=[tool(), tool("tell", parameters=None)], **fields).status_code == 200
    constraint = engine.requests[-1].constraint
    if names is None:
        assert constraint is None
    else:
        schemas = {"get_weather": CITY, "tell": EMPTY}
        functions = tuple(Function(name, JsonSchema.of(schemas[name], strict=False)) for name in names)
        assert constraint == Constraint(None, functions, must, most)
        assert constraint in engine.compiled
    shown = engine.tools[-1]
    assert (shown is None) == (fields.get("tool_choice") == "none")
    if shown:
        assert [each["function"]["name"] for each in shown] == ["get_weather", "tell"]
        assert shown[1]["function"]["parameters"] == EMPTY


def test_a_strict_function_binds_its_calls_and_leaves_texts_free(world: ToolWorld, engine: Any) -> None:
    assert post(world, tools=[tool(strict=True)]).status_code == 200
    functions = (Function("get_weather", JsonSchema.of(CITY, strict=True)),)
    assert engine.requests[-1].constraint == Constraint(None, functions, must_call=False)


def test_an_answer_by_schema_or_a_call(world: ToolWorld, engine: Any) -> None:
    assert post(world, tools=[tool()], response_format={"type": "json_object"}).status_code == 200
    constraint = engine.requests[-1].constraint
    assert constraint.answer is not None
    assert [each.name for each in constraint.functions] == ["get_weather"]
    assert not constraint.must_call


@pytest.mark.parametrize("named", [{}, {"name": "get_weather"}, {"name": None}])
def test_calls_and_results_of_a_conversation_reach_the_template_and_the_log(
    world: ToolWorld, engine: Any, named: dict[str, Any]
) -> None:
    """`name`: as OpenAI's cookbook and LlamaIndex send it with a result."""
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Köln"}'}}
    turns = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "18 degrees", **named},
    ]
    body = post(world, messages=turns).json()
    shown = engine.conversations[-1]
    assert shown[1]["content"] == ""
    assert shown[1]["tool_calls"][0]["function"] == {"name": "get_weather", "arguments": {"city": "Köln"}}
    expected = {"role": "tool", "content": "18 degrees", "tool_call_id": "call_1", "name": "get_weather"}
    assert shown[2] == expected
    said = entry(world, body)
    assert [(turn.role, turn.content) for turn in said.messages][1:] == [("assistant", CALL), ("tool", "18 degrees")]
    assert said.form == "tools"


# ---------------------------------------------------------------- what the client gets


def test_a_call_is_told_from_the_answer_and_logged(world: ToolWorld, engine: Any) -> None:
    engine.said = ["Let me look.", *CALL.split(" ")]
    body = post(world, tools=[tool()]).json()
    (choice,) = body["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "Let me look."
    (call,) = choice["message"]["tool_calls"]
    assert call["id"].startswith("call_")
    assert call["function"] == {"name": "get_weather", "arguments": '{"city": "Köln"}'}
    said = entry(world, body)
    assert (said.form, said.called, said.answer) == ("tools", ("get_weather",), f"Let me look. {CALL}")
    assert json.loads(said.tools)[0]["function"]["name"] == "get_weather"


def test_the_tools_and_what_bound_the_answer_leave_the_process_sealed(world: ToolWorld, engine: Any) -> None:
    wanted = by_schema({"enum": ["zebra"]})
    body = post(world, tools=[tool(description="asks the zebra")], tool_choice="auto", response_format=wanted).json()
    said = entry(world, body)
    assert "zebra" in said.tools
    assert json.loads(said.bound) == {"tool_choice": "auto", "response_format": wanted}
    assert entry(world, post(world).json()).bound == ""
    assert not any(b"zebra" in (record.value or b"") for record in world.bus.read(INFERENCES.name) if record)


def test_calls_alone_leave_no_content_and_have_ids_of_their_own(world: ToolWorld, engine: Any) -> None:
    engine.said = FORM.write([("get_weather", {"city": "A"}), ("get_weather", {"city": "B"})]).split(" ")
    message = post(world, tools=[tool()], n=2).json()["choices"]
    assert [each["message"]["content"] for each in message] == [None, None]
    ids = [call["id"] for each in message for call in each["message"]["tool_calls"]]
    assert len(set(ids)) == 4


def test_a_stream_tells_calls_with_index_and_id(world: ToolWorld, engine: Any) -> None:
    engine.said = ["Let me look.", *FORM.write([("get_weather", {"city": "A"}), ("tell", {})]).split(" ")]
    events = frames(post(world, tools=[tool(), tool("tell")], stream=True).text)
    deltas = [event["choices"][0]["delta"] for event in events]
    assert "".join(delta.get("content") or "" for delta in deltas) == "Let me look."
    calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
    told = [(call["index"], call["function"]["name"], call["function"]["arguments"]) for call in calls]
    assert told == [(0, "get_weather", '{"city": "A"}'), (1, "tell", "{}")]
    assert all(call["id"].startswith("call_") and call["type"] == "function" for call in calls)
    assert events[-1]["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("said", ['<tool_call>\n{"name": "get_weather", "argu', FORM.write([("news", {})])])
def test_what_is_no_whole_call_stays_text(world: ToolWorld, engine: Any, said: str) -> None:
    engine.said = said.split(" ")
    (choice,) = post(world, tools=[tool()]).json()["choices"]
    assert choice["message"] == {"role": "assistant", "content": said, "refusal": None}
    assert choice["finish_reason"] == "stop"


def test_without_tools_no_text_is_taken_for_a_call(world: ToolWorld, engine: Any) -> None:
    engine.said = CALL.split(" ")
    for fields in ({}, {"tools": [tool()], "tool_choice": "none"}):
        (choice,) = post(world, **fields).json()["choices"]
        assert choice["message"]["content"] == CALL


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        (
            {"response_format": {"type": "text", "json_schema": {"name": "n", "schema": {}}}},
            "response_format.json_schema",
        ),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"response_format": by_schema(PERSON, extra=1)}, "response_format.json_schema.extra"),
        ({"response_format": by_schema([1])}, "response_format.json_schema.schema"),
        ({"response_format": by_schema({"uniqueItems": True}, strict=True)}, "response_format"),
        ({"tools": [tool()], "tool_choice": "maybe"}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [tool()], "tool_choice": {"type": "function", "function": {"name": "tell"}}}, "tool_choice"),
        ({"tools": [tool(), tool()]}, "tools"),
        ({"tools": [tool("bad name")]}, "tools[0].function.name"),
        ({"tools": [tool(parameters={"type": "array"})]}, "tools[0].function.parameters"),
        ({"tools": [{"type": "custom", "custom": {}}]}, "tools[0].type"),
        ({"tools": [tool(parameters={"uniqueItems": True}, strict=True)]}, "tools"),
        ({"response_format": by_schema({"enum": ["\ud800"]})}, "response_format.json_schema.schema"),
        ({"response_format": by_schema({"enum": ["x" * 70_000]})}, "response_format.json_schema.schema"),
        ({"response_format": by_schema(nested(101))}, "response_format.json_schema.schema"),
        ({"tools": [tool(parameters=nested(101))]}, "tools[0].function.parameters"),
        ({"tools": [tool(description="\ud800")]}, "tools[0].function.description"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"function_call": {"name": "f"}}, "function_call"),
    ],
)
def test_a_400_names_the_parameter(world: ToolWorld, engine: Any, fields: dict[str, Any], param: str) -> None:
    asked = len(engine.requests)
    found, message = refused(world, **fields)
    assert found == param
    if "uniqueItems" in str(fields):
        assert "Unimplemented keys" in message
    if param in ("functions", "function_call"):
        assert "use 'tool" in message
    assert len(engine.requests) == asked


def test_a_base_without_a_place_for_tools(world: ToolWorld, engine: Any) -> None:
    engine.info = replace(engine.info, calls=None)
    for choice in ("auto", "required"):
        param, message = refused(world, tools=[tool()], tool_choice=choice)
        assert (param, "no place for tools" in message) == ("tools", True)
    assert post(world, tools=[tool()], tool_choice="none").status_code == 200


def calling(arguments: str, identity: str = "a") -> list[dict[str, Any]]:
    return turn(role="assistant", tool_calls=[{"id": identity, "function": {"name": "f", "arguments": arguments}}])


def turn(**fields: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": "Hi"}, fields]


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        (turn(role="tool", content="x", tool_call_id="call_9"), "messages[1].tool_call_id"),
        (turn(role="tool", content="x"), "messages[1].tool_call_id"),
        (turn(role="user", content="x", tool_call_id="call_9"), "messages[1].tool_call_id"),
        ([*calling("{}"), {"role": "tool", "tool_call_id": "a", "name": "g", "content": "x"}], "messages[2].name"),
        ([*calling("{}"), {"role": "tool", "tool_call_id": "a", "name": 5, "content": "x"}], "messages[2].name"),
        (turn(role="assistant", content=None), "messages[1].content"),
        (turn(role="user"), "messages[1].content"),
        (calling("[]"), "messages[1].tool_calls[0].function.arguments"),
        (calling("[" * 5000), "messages[1].tool_calls[0].function.arguments"),
        (calling('{"a": "\\ud800"}'), "messages[1].tool_calls[0].function.arguments"),
        (calling('{"a": ' + "9" * 5000 + "}"), "messages[1].tool_calls[0].function.arguments"),
        (calling("{}", "\ud800"), "messages[1].tool_calls[0].id"),
        (
            turn(role="user", content="", tool_calls=[{"id": "a", "function": {"name": "f", "arguments": "{}"}}]),
            "messages[1].tool_calls",
        ),
        (
            turn(role="assistant", content="x", function_call={"name": "f", "arguments": "{}"}),
            "messages[1].function_call",
        ),
    ],
)
def test_a_turn_that_does_not_fit(world: ToolWorld, messages: list[dict[str, Any]], param: str) -> None:
    assert refused(world, messages=messages)[0] == param


def test_a_grammar_that_grows_too_complex_is_the_requests_fault(world: ToolWorld, engine: Any) -> None:
    engine.too_complex = True
    param, message = refused(world, response_format={"type": "json_object"})
    assert (param, "too many states" in message) == ("response_format", True)
    events = post(world, response_format={"type": "json_object"}, stream=True).text
    assert '"param":"response_format"' in events
