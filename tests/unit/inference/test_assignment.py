from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from pawl_inference.domain.assignment import (
    UnknownModelError,
    assign,
    model_id,
    pin,
    resolve_caller,
    route_name,
    split_pin,
)
from pawl_shared.events import DeployedVersion, DeploymentChanged

NOW = datetime(2026, 5, 3, 23, 59, tzinfo=UTC)
KEY = b"k" * 32
REQUEST = UUID(int=5)
BASE, ADAPTER, GRAPH = "b" * 64, "a" * 64, "9" * 64


def version(digest: str) -> DeployedVersion:
    return DeployedVersion(version=digest, base=BASE, graph=GRAPH)


def deployment(**fields: Any) -> DeploymentChanged:
    return DeploymentChanged(
        id=UUID(int=1),
        time=NOW,
        source="t",
        model="default/assistant",
        revision=3,
        champion=version(BASE),
        change="canary",
        **fields,
    )


def caller(**fields: Any) -> Any:
    return resolve_caller(key=KEY, inference_id=REQUEST, now=NOW, **fields)


def test_session_is_taken_in_the_documented_order() -> None:
    everything = {"session_id": "s", "conversation": "c", "user": "ada"}
    assert caller(**everything).session == "s"
    assert caller(conversation="c", user="ada").session == "c"
    assert caller(user="ada").session == f"{caller(user='ada').subject}:2026-05-03"
    assert caller().session == str(REQUEST)


def test_subject_is_keyed_and_never_shows_the_user() -> None:
    ada = caller(session_id="s", user="ada@example.org")
    assert ada.subject == caller(user="ada@example.org").subject
    assert "ada" not in str(ada)
    other = resolve_caller(key=b"x" * 32, inference_id=REQUEST, now=NOW, user="ada@example.org")
    assert other.subject != ada.subject
    assert caller(session_id="s").subject is None


def test_without_a_canary_everyone_meets_the_champion() -> None:
    found = assign(deployment(), "s")
    assert (found.arm, found.served.version, found.canary, found.revision) == ("champion", BASE, None, 3)


def test_arms_are_drawn_per_session_at_the_share_and_stay() -> None:
    running = deployment(challenger=version(ADAPTER), canary=UUID(int=9), share=0.1)
    arms = [assign(running, f"session-{number}").arm for number in range(5000)]
    assert arms == [assign(running, f"session-{number}").arm for number in range(5000)]
    # 500 expected, standard deviation 21
    assert 400 < arms.count("challenger") < 600


def test_a_larger_share_keeps_those_who_met_the_challenger() -> None:
    small = deployment(challenger=version(ADAPTER), canary=UUID(int=9), share=0.1)
    large = small.model_copy(update={"share": 0.5})
    sessions = [f"session-{number}" for number in range(1000)]
    before = {session for session in sessions if assign(small, session).arm == "challenger"}
    assert before < {session for session in sessions if assign(large, session).arm == "challenger"}


def test_another_canary_draws_anew() -> None:
    first = deployment(challenger=version(ADAPTER), canary=UUID(int=9), share=0.5)
    second = first.model_copy(update={"canary": UUID(int=10)})
    sessions = [f"session-{number}" for number in range(1000)]
    same = sum(assign(first, session).arm == assign(second, session).arm for session in sessions)
    assert 400 < same < 600


@pytest.mark.parametrize(("share", "arm"), [(0.0, "champion"), (1.0, "challenger")])
def test_shares_at_the_ends(share: float, arm: str) -> None:
    running = deployment(challenger=version(ADAPTER), canary=UUID(int=9), share=share)
    assert {assign(running, f"s{number}").arm for number in range(200)} == {arm}


def test_a_pin_stands_outside_of_the_canary() -> None:
    running = deployment(challenger=version(ADAPTER), canary=UUID(int=9), share=0.5)
    found = pin(running, ADAPTER[:12], (version(BASE), version(ADAPTER)))
    assert (found.arm, found.served.version, found.canary) == ("pinned", ADAPTER, None)


@pytest.mark.parametrize("prefix", ["", "aaa", "cccccc", "aaaaaa"])
def test_a_pin_must_name_one_version(prefix: str) -> None:
    twins = (version(BASE), version(ADAPTER), version("a" * 63 + "0"))
    with pytest.raises(UnknownModelError):
        pin(deployment(), prefix, twins)


def test_names() -> None:
    assert model_id("assistant") == "default/assistant"
    assert model_id("acme/assistant") == "acme/assistant"
    assert route_name("default/assistant") == "assistant"
    assert route_name("acme/assistant") == "acme/assistant"
    assert split_pin("assistant@3fa9c1") == ("assistant", "3fa9c1")
    assert split_pin("assistant") == ("assistant", None)
