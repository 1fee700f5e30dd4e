"""The official OpenAI SDK against the real HTTP server, the real decoder and a tiny real model."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from support.inference import CANARY, MODEL, eventually
from support.live_inference import Live, live_inference
from support.tiny_engine import BASE

from pawl_shared.topics import FEEDBACK, INFERENCES, REPLICAS


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with live_inference(tmp_path_factory.mktemp("live")) as found:
        yield found


QUESTION = [{"role": "user", "content": "What is a good way to learn to cook?"}]


def test_plain_and_streamed_answers_are_the_same(live: Live) -> None:
    plain = live.client.chat.completions.create(model="assistant", messages=QUESTION, temperature=0, max_tokens=12)
    assert plain.choices[0].finish_reason in ("stop", "length")
    assert plain.usage
    assert 0 < plain.usage.completion_tokens <= 12
    assert plain.system_fingerprint == BASE
    chunks = list(
        live.client.chat.completions.create(
            model="assistant",
            messages=QUESTION,
            temperature=0,
            max_tokens=12,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == plain.choices[0].message.content
    counts = {"prompt_tokens", "completion_tokens", "total_tokens"}  # the prompt may be cached by now
    assert chunks[-1].usage.model_dump(include=counts) == plain.usage.model_dump(include=counts)
    assert chunks[-1].model_extra["metadata"]["feedback_token"]


def test_a_seed_fixes_the_answer(live: Live) -> None:
    def answer(seed: int) -> str | None:
        made = live.client.chat.completions.create(model="assistant", messages=QUESTION, seed=seed, max_tokens=12)
        return made.choices[0].message.content

    assert answer(1) == answer(1)
    assert len({answer(seed) for seed in range(4)}) > 1


def test_choices_are_the_same_streamed_or_not_alone_or_together(live: Live) -> None:
    """Three rows of one batch, and each by itself with the seed that was logged for it."""
    asked = {"model": "assistant", "messages": QUESTION, "seed": -3, "max_tokens": 12, "logprobs": True}
    plain = live.client.chat.completions.create(n=3, metadata={"session_id": "three"}, **asked)
    texts = [choice.message.content for choice in plain.choices]
    assert len(set(texts)) == 3
    streamed = ["", "", ""]
    for chunk in live.client.chat.completions.create(n=3, stream=True, **asked):
        streamed[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert streamed == texts
    logged = eventually(lambda: found if len(found := _of_session(live, "three")) == 3 else None)
    seeds = [event.sampling.seed for event in sorted(logged, key=lambda event: event.choice)]
    alone = [live.client.chat.completions.create(**(asked | {"seed": seed})) for seed in seeds]
    assert [made.choices[0].message.content for made in alone] == texts
    assert [made.choices[0].logprobs for made in alone] == [choice.logprobs for choice in plain.choices]
    said = b"".join(bytes(token.bytes or ()) for token in plain.choices[0].logprobs.content)
    assert said.decode(errors="replace").startswith(texts[0] or "")


def _of_session(live: Live, session: str) -> list[Any]:
    return [event for event in live.world.read(INFERENCES) if event.session == session]


def test_texts_go_on_from_texts_and_tokens(live: Live) -> None:
    asked = {"model": "assistant", "temperature": 0, "max_tokens": 8}
    one = live.client.completions.create(prompt="The quick brown", logprobs=2, **asked)
    assert one.object == "text_completion"
    assert len(one.choices[0].logprobs.text_offset) == len(one.choices[0].logprobs.tokens)
    streamed = live.client.completions.create(prompt="The quick brown", stream=True, **asked)
    assert "".join(chunk.choices[0].text for chunk in streamed if chunk.choices) == one.choices[0].text
    both = live.client.completions.create(prompt=[[40, 41, 42], [43]], **asked)
    assert [choice.index for choice in both.choices] == [0, 1]
    with pytest.raises(openai.BadRequestError) as unknown:
        live.client.completions.create(prompt=[10_000], **asked)
    assert unknown.value.param == "prompt"


def test_errors_are_the_sdks_own(live: Live) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        live.client.chat.completions.create(model="other", messages=QUESTION)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as refused:
        live.client.chat.completions.create(model="assistant", messages=QUESTION, store=True)
    assert (refused.value.param, refused.value.code) == ("store", "unsupported_parameter")
    with pytest.raises(openai.BadRequestError) as long:
        live.client.chat.completions.create(model="assistant", messages=[{"role": "user", "content": "word " * 3000}])
    assert long.value.code == "context_length_exceeded"


def test_feedback_comes_with_the_answers_session(live: Live) -> None:
    raw = live.client.chat.completions.with_raw_response.create(
        model="assistant", messages=QUESTION, max_tokens=4, user="ada", metadata={"session_id": "sdk-1"}
    )
    answer = raw.parse()
    assert raw.headers["x-pawl-arm"] == "champion"
    posted = httpx.post(
        f"{live.url}/v1/feedback",
        json={"inference_id": answer.id, "token": raw.headers["x-pawl-feedback-token"], "thumb": "down"},
    )
    assert posted.status_code == 202
    (feedback,) = [event for event in live.world.read(FEEDBACK) if str(event.inference_id) == answer.id]
    logged = eventually(
        lambda: next((event for event in live.world.read(INFERENCES) if str(event.inference_id) == answer.id), None)
    )
    assert feedback.session == logged.session == "sdk-1"
    assert feedback.subject == logged.subject
    assert logged.answer == answer.choices[0].message.content


def test_a_client_that_hangs_up_ends_its_answer(live: Live) -> None:
    def ended(session: str) -> str:
        stream = live.client.chat.completions.create(
            model="assistant", messages=QUESTION, stream=True, max_tokens=400, metadata={"session_id": session}
        )
        next(iter(stream))
        stream.close()
        logged = eventually(
            lambda: next((event for event in live.world.read(INFERENCES) if event.session == session), None)
        )
        return str(logged.finish_reason)

    # The tiny model makes 400 tokens in 0.1 s, if its random weights do not end the answer before; a busy machine may
    # notice later than that that nobody listens.
    assert any(ended(f"hangs-up-{number}") == "cancelled" for number in range(8))


def test_versions_are_swapped_without_a_restart(live: Live) -> None:
    before = live.client.chat.completions.create(model="assistant", messages=QUESTION, temperature=0, max_tokens=12)
    live.world.deploy(2, champion=live.base, challenger=live.adapter, canary=CANARY, share=1.0, change="canary")
    eventually(lambda: _applied(live, 2))
    after = live.client.chat.completions.create(model="assistant", messages=QUESTION, temperature=0, max_tokens=12)
    assert after.system_fingerprint == live.adapter.version
    assert after.choices[0].message.content != before.choices[0].message.content
    pinned = live.client.chat.completions.create(
        model=f"assistant@{BASE[:12]}", messages=QUESTION, temperature=0, max_tokens=12
    )
    assert pinned.choices[0].message.content == before.choices[0].message.content
    assert {model.id for model in live.client.models.list()} == {
        "assistant",
        f"assistant@{BASE[:12]}",
        f"assistant@{live.adapter.version[:12]}",
    }
    live.world.deploy(3, champion=live.broken)
    eventually(lambda: any(report.problems for report in live.world.read(REPLICAS)))
    assert live.client.models.retrieve("assistant").id == "assistant"
    live.world.deploy(4, champion=live.base, change="rolled-back")
    eventually(lambda: _applied(live, 4))


def _applied(live: Live, revision: int) -> bool:
    return any(report.applied.get(MODEL) == revision for report in live.world.read(REPLICAS))


def test_metrics_and_health_are_served(live: Live) -> None:
    assert httpx.get(f"{live.url}/healthz").text == "alive\n"
    assert "pawl_inference_answers_total" in httpx.get(f"{live.url}/metrics").text


def test_the_keys_are_private(live: Live) -> None:
    keys = list(Path(live.world.folder / "data" / "keys").iterdir())
    assert {key.name for key in keys} == {"feedback-token.key", "master.keys", "subject.key"}
    assert {key.stat().st_mode & 0o777 for key in keys} == {0o600}
