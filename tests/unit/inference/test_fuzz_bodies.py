"""Whatever is posted, the status is one of the documented ones, never 500, and an error has OpenAI's shape."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from support.fake_engine import FakeEngine
from support.inference import World, eventually, running

from pawl_inference.bodies.chat_body import ChatRequest
from pawl_inference.bodies.generation_body import GenerationBody
from pawl_inference.bodies.text_body import TextRequest
from pawl_inference.domain import parameters
from pawl_inference.domain.parameters import Rule

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
EXAMPLES = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def _stands(param: str, value: Any) -> bool:
    """Whether a body has this field: what is named is what was sent, and no type of ours."""
    if isinstance(value, list) and (found := re.match(r"\[(\d+)\]", param)):
        return int(found[1]) < len(value) and _stands(param[found.end() :].removeprefix("."), value[int(found[1])])
    named = value.items() if isinstance(value, dict) else ()
    shown = [(key.encode("utf-8", "replace").decode(), each) for key, each in named]
    return not param or any(
        _stands(param[len(key) :].removeprefix("."), each) for key, each in shown if key and param.startswith(key)
    )


class Client:
    """The application, and what its engine was asked."""

    def __init__(self, http: TestClient, engine: FakeEngine) -> None:
        self._http, self._engine = http, engine
        described = http.get("/openapi.json").json()["paths"]
        self._documented = {
            path: {int(status) for status in described[path]["post"]["responses"]}
            for path in described
            if "post" in described[path]
        }

    def check(self, path: str, content: bytes) -> int:
        """Post it, and check what comes."""
        before = len(self._engine.requests)
        response = self._http.post(path, content=content, headers={"content-type": "application/json"})
        status = response.status_code
        assert status in self._documented[path], response.text
        if status != 200:
            error = response.json()["error"]
            assert error.keys() == {"message", "type", "param", "code"}
            assert isinstance(error["message"], str)
            assert error["message"]
            assert error["type"] == "invalid_request_error", "nothing that a client can send is the server's fault"
            missing = error["code"] == "missing_required_parameter" or str(error["param"]).endswith(".tool_call_id")
            assert error["param"] is None or missing or _stands(error["param"], json.loads(content)), error
            assert len(self._engine.requests) == before, "what is refused is not computed"
        return status


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    world = World(tmp_path_factory.mktemp("fuzz"))
    world.deploy(1)
    with running(world) as service:
        eventually(lambda: service.health.ready)
        yield Client(TestClient(service.asgi, raise_server_exceptions=False), world.engine)


texts = st.text(st.characters(exclude_categories=[]), max_size=8)  # with halves of surrogate pairs
numbers = st.one_of(
    st.integers(-3, 25), st.floats(), st.sampled_from([1e308, -1e308, 5e-324, 2**31, 2**63, -(2**63), 10**400, 0.5])
)
atoms = st.one_of(st.none(), st.booleans(), numbers, texts)
values = st.recursive(atoms, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))
likely = st.sampled_from(
    [0, 1, 2, 0.5, True, False, None, "x", ["x"], [1, 2], [[1], [2]], {}, {"type": "text"}, "none"]
)
parts = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["text", "image_url", "input_audio", 5, None])},
        optional={"text": atoms, "image_url": values},
    ),
    max_size=2,
)
messages = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["system", "developer", "user", "assistant", "tool", "robot"]),
            "content": st.one_of(texts, parts, values),
        },
        optional={"name": atoms, "tool_calls": values, "refusal": atoms},
    ),
    min_size=1,
    max_size=3,
)
prompts = st.one_of(
    texts,
    st.lists(texts, max_size=3),
    st.lists(numbers, max_size=3),
    st.lists(st.lists(st.integers(-1, 1100), max_size=3), max_size=3),
    values,
)


# What may be asked for, so that refusals of other things are met behind it.
FINE: dict[str, Any] = {
    "temperature": 0.5, "top_p": 0.9, "top_k": 5, "min_p": 0.1, "presence_penalty": -1, "frequency_penalty": 2,
    "repetition_penalty": 1.2, "n": 2, "seed": -7, "stop": ["\n"], "max_tokens": 5, "stream": True, "user": "ada",
    "metadata": {"app": "shop"}, "tools": [], "tool_choice": "auto", "store": False, "echo": True, "suffix": "",
    "best_of": None, "conversation": {"id": "c"}, "service_tier": "auto", "prompt_cache_key": "k",
    "logit_bias": {"7": -100},
}  # fmt: skip


def _bodies(table: Mapping[str, Rule], asked: st.SearchStrategy[Any], valid: dict[str, Any]) -> st.SearchStrategy[Any]:
    """A valid body with a few of its parameters, or of others, changed; well, or in any way."""
    well = st.dictionaries(st.sampled_from(sorted(FINE.keys() & table.keys())), st.none(), max_size=4)
    badly = st.dictionaries(
        st.sampled_from([*sorted(table), "nonsense"]), st.one_of(likely, numbers, values), max_size=2
    )
    prompt = st.fixed_dictionaries({}, optional={next(reversed(valid)): asked})
    return st.builds(
        lambda fine, bad, own: valid | {name: FINE[name] for name in fine} | bad | own, well, badly, prompt
    )


CHATS = _bodies(parameters.CHAT, messages, {"model": "assistant", "messages": [{"role": "user", "content": "Hi"}]})
TEXTS = _bodies(parameters.TEXT, prompts, {"model": "assistant", "prompt": "Hi"})


@pytest.mark.parametrize(("path", "bodies"), [(CHAT, CHATS), (TEXT, TEXTS)], ids=["chats", "texts"])
def test_bodies_of_requests(client: Client, path: str, bodies: st.SearchStrategy[Any]) -> None:
    met: Counter[int] = Counter()

    @EXAMPLES
    @given(bodies)
    def check(body: dict[str, Any]) -> None:
        met[client.check(path, json.dumps(body).encode())] += 1

    check()
    assert min(met[200], met[400]) >= 10, f"the fuzz meets one kind of answer only, and proves little: {met}"


@EXAMPLES
@given(
    st.sampled_from([CHAT, TEXT]),
    st.one_of(st.binary(max_size=40), values.map(lambda value: json.dumps(value).encode())),
)
def test_bodies_of_anything(client: Client, path: str, content: bytes) -> None:
    assert client.check(path, content) == 400


IDS = {"model": "assistant", "prompt": [1, *["x"] * 10_000]}
PARTS = {"model": "assistant", "messages": [{"role": "user", "content": [{"type": "text", "text": 5}] * 10_000}]}


@pytest.mark.parametrize(("kind", "body"), [(TextRequest, IDS), (ChatRequest, PARTS)])
def test_a_long_list_is_looked_at_until_its_first_fault(kind: type[GenerationBody], body: dict[str, Any]) -> None:
    """To word 80,000 faults of one body, and tell of the first, held up all answers for 0.6 s."""
    with pytest.raises(ValidationError) as found:
        kind.model_validate(body)
    assert found.value.error_count() < 3
