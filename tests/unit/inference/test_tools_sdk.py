"""OpenAI's SDK and its helpers with tools and schemas, unchanged."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import openai
import pytest
from fastapi.testclient import TestClient
from openai import OpenAI
from pydantic import BaseModel
from support.inference import World, eventually, running

from pawl_inference.engine.constraint import CallFormat

FORM = CallFormat("<tool_call>", "</tool_call>")


class Weather(BaseModel):
    """Asks for the weather."""

    city: str
    days: list[int]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[OpenAI, World]]:
    world = World(tmp_path_factory.mktemp("sdk"))
    world.deploy(1)
    with running(world) as service:
        eventually(lambda: service.health.ready)
        http = TestClient(service.asgi, base_url="http://testserver")
        world.engine.info = replace(world.engine.info, calls=FORM)
        yield OpenAI(base_url="http://testserver/v1", api_key="none", http_client=http, max_retries=0), world


def test_an_answer_is_parsed_into_a_model(world: tuple[OpenAI, World]) -> None:
    client, there = world
    there.engine.said = ['{"city":', '"Rome","days":[1,2]}']
    answer = client.chat.completions.parse(
        model="assistant", messages=[{"role": "user", "content": "Weather?"}], response_format=Weather
    )
    assert answer.choices[0].message.parsed == Weather(city="Rome", days=[1, 2])
    constraint = there.engine.requests[-1].constraint
    assert constraint is not None
    assert constraint.answer is not None
    assert constraint.answer.strict
    again: list[Any] = [{"role": "user", "content": "Weather?"}, answer.choices[0].message]
    assert client.chat.completions.create(model="assistant", messages=again).choices[0].message.content


def test_a_streamed_call_is_put_together_and_answered(world: tuple[OpenAI, World]) -> None:
    client, there = world
    there.engine.said = FORM.write([("Weather", {"city": "Rome", "days": [1]})]).split(" ")
    question: Any = {"role": "user", "content": "Weather?"}
    with client.chat.completions.stream(
        model="assistant", messages=[question], tools=[openai.pydantic_function_tool(Weather)], tool_choice="required"
    ) as stream:
        message = stream.get_final_completion().choices[0].message
    (call,) = message.tool_calls
    assert call.function.parsed_arguments == Weather(city="Rome", days=[1])
    there.engine.said = None
    result: Any = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    again = client.chat.completions.create(model="assistant", messages=[question, message, result])
    assert again.choices[0].finish_reason == "stop"
    assert there.engine.conversations[-1][1]["tool_calls"][0]["function"]["arguments"] == {"city": "Rome", "days": [1]}
