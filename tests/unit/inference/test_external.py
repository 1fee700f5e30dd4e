"""Answers that were made elsewhere: what is journalled of them, under which identity, and what is refused."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi.testclient import TestClient
from support.api_keys import a_key
from support.inference import World, eventually, running

from pawl_inference.domain.external import span_id, version_of
from pawl_shared.ids import uuid7
from pawl_shared.topics import FEEDBACK, INFERENCES

URL = "/v1/inferences"


def told(**fields: Any) -> dict[str, Any]:
    return {
        "model": "support",
        "messages": [{"role": "user", "content": "What is a pawl?"}],
        "answer": "A catch.",
        "provider": "openai",
        "provider_model": "gpt-5-mini",
        **fields,
    }


def post(client: TestClient, body: Any, **headers: str) -> Any:
    """Half surrogates too, which the client itself would not encode."""
    return client.post(URL, content=json.dumps(body), headers={"Content-Type": "application/json", **headers})


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, World]]:
    world = World(tmp_path_factory.mktemp("calm"))
    with running(world) as service:
        yield TestClient(service.asgi, raise_server_exceptions=False), world


@pytest.fixture
def client(calm: tuple[TestClient, World]) -> TestClient:
    return calm[0]


@pytest.fixture
def log(calm: tuple[TestClient, World]) -> Any:
    """Every event of one inference, once the broker has some."""

    def of(identity: str, count: int = 1) -> list[Any]:
        def found() -> Any:
            events = [each for each in calm[1].read(INFERENCES) if str(each.inference_id) == identity]
            return events if len(events) >= count else None

        return eventually(found)

    return of


def test_an_answer_of_another_provider_is_logged_as_such(client: TestClient, log: Any) -> None:
    when = datetime.now(UTC) - timedelta(hours=3)
    body = told(
        user="user-ada",
        session="s-1",
        metadata={"plan": "pro"},
        time=when.isoformat(),
        usage={"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10, "details": {}},
        total_seconds=1.5,
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "What is "}, {"type": "text", "text": "a pawl?"}]},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function"}]},
            {"role": "tool", "tool_call_id": "c", "content": "a catch"},
            {"role": "assistant", "content": "A catch.", "refusal": None, "audio": None, "annotations": []},
        ],
    )
    posted = client.post(URL, json=body)
    assert (posted.status_code, posted.json()["accepted"]) == (202, 1)
    (made,) = posted.json()["inferences"]
    (event,) = log(made["id"])
    assert (event.model, event.session, event.arm, event.revision) == ("default/support", "s-1", "external", 0)
    assert event.version == made["version"] == version_of("openai", "gpt-5-mini")
    assert (event.canary, event.experiment, event.time) == (None, None, when)
    assert [(turn.role, turn.content) for turn in event.messages] == [
        ("system", "Be brief."),
        ("user", "What is a pawl?"),
        ("assistant", '[{"id": "c", "type": "function"}]'),
        ("tool", "a catch"),
        ("assistant", "A catch."),
    ]
    assert (event.answer, event.prompt_tokens, event.answer_tokens, event.total_seconds) == ("A catch.", 7, 3, 1.5)
    assert (event.provider, event.provider_model, event.metadata) == ("openai", "gpt-5-mini", {"plan": "pro"})
    assert 'external_answers_total{via="post"}' in client.get("/metrics").text, "a label for any name would never end"
    assert event.form == "tools", "what holds calls is no example to train on"
    assert event.subject
    assert "user-ada" not in event.model_dump_json()


def test_its_token_lets_it_be_rated(client: TestClient, calm: tuple[TestClient, World]) -> None:
    (made,) = client.post(URL, json=told()).json()["inferences"]
    said = {"inference_id": made["id"], "token": made["feedback_token"], "thumb": "down"}
    assert client.post("/v1/feedback", json=said).status_code == 202
    (event,) = [each for each in calm[1].read(FEEDBACK) if str(each.inference_id) == made["id"]]
    assert (event.model, event.session, event.value) == ("default/support", made["id"], 0.0)


def test_a_repeat_has_the_same_identity_and_time(client: TestClient, log: Any) -> None:
    mine = str(uuid4())
    by_id = [client.post(URL, json=told(id=mine)).json()["inferences"][0]["id"] for _ in range(2)]
    assert by_id == [mine, mine]
    first, second = log(mine, 2)
    assert (first.id, first.time) == (second.id, second.time)
    batch = {"inferences": [told(), told(), told(answer="Another.")]}
    keyed = [client.post(URL, json=batch, headers={"Idempotency-Key": "k"}).json()["inferences"] for _ in range(2)]
    ids = [[each["id"] for each in answer] for answer in keyed]
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 3
    assert len({(event.id, event.time) for event in log(ids[0][0], 2)}) == 1
    others = client.post(URL, json={"inferences": [told(answer="Yet another.")]}, headers={"Idempotency-Key": "k"})
    assert others.json()["inferences"][0]["id"] not in ids[0], "apps number their posts in their own ways"


def test_the_time_stands_in_a_uuid7(client: TestClient, log: Any) -> None:
    when = datetime.now(UTC).replace(microsecond=0) - timedelta(days=2)
    mine = str(uuid7(when, Random(1)))
    client.post(URL, json=told(id=mine, user="ada"))
    (event,) = log(mine)
    assert event.time == when
    assert event.session.endswith(f"{when:%Y-%m-%d}")


@pytest.mark.parametrize(
    ("finish", "ending", "failed"),
    [("tool_calls", "stop", False), ("length", "length", False), ("error", "cancelled", True)],
)
def test_how_it_ended(client: TestClient, log: Any, finish: str, ending: str, failed: bool) -> None:
    (made,) = client.post(URL, json=told(finish_reason=finish)).json()["inferences"]
    (event,) = log(made["id"])
    assert (event.finish_reason, event.failed) == (ending, failed)


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        (told(time="2020-01-01T00:00:00Z"), "time", "more than 7 days ago"),
        (told(time="2999-01-01T00:00:00Z"), "time", "in the future"),
        (told(id=str(UUID(int=7 << 76 | 2 << 62))), "time", "more than 7 days ago"),
        (told(time="2026-01-01T00:00:00"), "time", "timezone"),
        (told(model="assistant@abcdef12"), "model", "pattern"),
        (told(model="a/b/c"), "model", "pattern"),
        (told(messages=[]), "messages", "at least 1"),
        (told(messages=[{"role": "user", "content": [{"type": "image_url"}]}]), "messages[0].content[0].type", "text"),
        (told(messages=[{"role": "assistant", "tool_calls": ["find"]}]), "messages[0].tool_calls", "no list of calls"),
        (told(answer=None), "answer", "string"),
        (told(answer="\ud800"), "answer", "surrogate"),
        (told(temperature=1), "temperature", "Unknown parameter"),
        (told(id="mine"), "id", "UUID"),
        (told(total_seconds=-1), "total_seconds", "0"),
        (told(session="a", metadata={"session_id": "b"}), None, "differ"),
        ({"inferences": []}, "inferences", "at least 1"),
        ({"inferences": [told(), told(time="2999-01-01T00:00:00Z")]}, "inferences[1].time", "in the future"),
        ({"inferences": [told()], "model": "x"}, "model", "Unknown parameter"),
        ([told()], None, "dictionary"),
        (told(id="ffffffff-ffff-7fff-bfff-ffffffffffff"), "time", "in the future"),
    ],
)
def test_what_is_refused_names_the_field(client: TestClient, body: Any, param: str | None, says: str) -> None:
    answer = post(client, body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param), error
    assert says in error["message"]


def test_an_answer_can_be_rated_without_the_token_of_its_post(
    client: TestClient, calm: tuple[TestClient, World]
) -> None:
    trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00F067AA0BA902B7"
    body = {"model": "support", "user": "ada", "time": datetime.now(UTC).isoformat()}
    made = client.post(f"{URL}/{trace}:{span}/token", json=body).json()
    assert made["id"] == str(span_id(trace, span))
    said = {"inference_id": made["id"], "token": made["feedback_token"], "thumb": "up"}
    assert client.post("/v1/feedback", json=said).status_code == 202
    assert [e.value for e in calm[1].read(FEEDBACK) if str(e.inference_id) == made["id"]] == [1.0]
    missing = client.post(f"{URL}/{made['id']}/token", json={"model": "support", "user": "ada"})
    assert (missing.status_code, missing.json()["error"]["param"]) == (400, "time")
    assert client.post(f"{URL}/nonsense/token", json={"model": "support"}).status_code == 400


def test_calls_of_tools_may_hold_anything(client: TestClient) -> None:
    for argument in ("\ud800", json.loads("[" * 400 + "]" * 400)):
        turn = {"role": "assistant", "tool_calls": [{"function": {"arguments": argument}}]}
        posted = post(client, told(messages=[turn]), **{"Idempotency-Key": "tools"})
        assert posted.status_code == 202, posted.text


def test_when_the_journal_is_full_nothing_is_accepted(tmp_path: Path) -> None:
    world = World(tmp_path)
    service = world.build(journal_max_bytes=32 << 20)
    client = TestClient(service.asgi, raise_server_exceptions=False)
    service.journal._max_bytes = 0
    refused = client.post(URL, json=told())
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "journal_full")
    assert "retry-after" in refused.headers
    service.journal.close()


def test_rating_without_a_posts_token_needs_a_key_of_scope_feedback(tmp_path: Path) -> None:
    with running(World(tmp_path)) as service:
        client = TestClient(service.asgi)
        infer, feedback = (a_key(tmp_path / "data" / "keys" / "api.keys", scope) for scope in ("infer", "feedback"))

        def status(path: str, key: str, body: Any) -> int:
            return client.post(path, json=body, headers={"Authorization": f"Bearer {key}"}).status_code

        token, body = f"{URL}/{uuid4()}/token", {"model": "support", "session": "s-1"}
        assert [status(token, key, body) for key in (infer, feedback)] == [403, 200]
        assert [status(URL, key, told()) for key in (infer, feedback)] == [202, 403]
        assert [status("/v1/traces", key, {}) for key in (infer, feedback)] == [200, 403]
