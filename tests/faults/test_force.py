"""Rollbacks on real Kafka when the validator is dead or stuck, and two replicas side by side on one stack."""

import json
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from benchmarks.support.serving import BASE, Serving, version
from typer.testing import CliRunner

from pawl_cli.__main__ import app
from pawl_shared import events as e

pytestmark = [pytest.mark.kafka, pytest.mark.model, pytest.mark.slow, pytest.mark.timeout(420)]


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    serving = Serving(tmp_path_factory.mktemp("serving"), versions=6)
    try:
        serving.start()
        yield serving
    finally:
        serving.close()


def pawl(serving: Serving, *words: str, status: int = 0) -> dict[str, Any]:
    """A command line, to its end."""
    where = ["--kafka-bootstrap-servers", serving.servers, "--data", str(serving.data), "--json"]
    result = CliRunner().invoke(app, [*words, *where])
    assert result.exit_code == status, result.output
    return dict(json.loads(result.stdout))


def until(condition: Callable[[], Any], what: str) -> None:
    give_up = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < give_up, what
        time.sleep(0.1)


def answered_by(serving: Serving, name: str) -> str:
    body = {"model": "default/assistant", "messages": [{"role": "user", "content": "Hello?"}], "max_tokens": 2}
    response = httpx.post(f"{serving.urls[name]}/v1/chat/completions", json=body, timeout=60)
    assert response.status_code == 200, response.text
    return response.headers["x-pawl-version"]


def everywhere(serving: Serving, wanted: str) -> bool:
    return {answered_by(serving, name) for name in serving.replicas} == {wanted}


def test_two_replicas_follow_and_a_restarted_one_begins_where_the_log_ends(serving: Serving) -> None:
    done = pawl(serving, "promote", version(0)[:7], "--why", "read by hand")
    assert done["replicas"]["there"] == ["pawl-inference-a", "pawl-inference-b"]
    assert done["changed"]["reasons"] == ["promoted by " + done["who"] + ": read by hand"]
    assert everywhere(serving, version(0))
    journals = {path.parent.name for path in (serving.data / "inference").glob("*/journal")}
    assert journals == {"a", "b"}

    gone = serving.replicas["b"]
    gone.kill()
    pawl(serving, "pin", version(1), "--wait", "8", status=3)  # it was alive a moment ago: waited for, then named
    gone.start()
    serving.until_ready("b")
    assert everywhere(serving, version(1)), "ready means that it stands at the end"
    assert "is pinned to" in pawl_error(serving, "promote", version(2))
    pawl(serving, "unpin")


def pawl_error(serving: Serving, *words: str) -> str:
    result = CliRunner().invoke(app, [*words, "--kafka-bootstrap-servers", serving.servers])
    assert result.exit_code == 1, result.output
    return " ".join(result.output.split())


def test_forced_with_a_dead_validator_and_with_one_that_is_stuck(serving: Serving) -> None:
    pawl(serving, "promote", version(2))
    pawl(serving, "promote", version(3))
    serving.validator.kill()
    assert "pawl rollback --force" in pawl_error(serving, "rollback", "--wait", "0.5")
    forced = pawl(serving, "rollback", "--force", "--why", "harm")
    assert forced["changed"]["champion"]["version"] == version(2)
    assert everywhere(serving, version(2))
    serving.validator.start()
    pawl(serving, "promote", version(4))
    assert everywhere(serving, version(4)), "what was asked for in vain is not carried out on top"

    serving.freeze(serving.validator)
    forced = pawl(serving, "rollback", "--force")
    assert everywhere(serving, version(2))
    serving.freeze(serving.validator, frozen=False)
    until(lambda: serving.validator.poll() is not None, "the fenced one ends")
    assert "taken over" in serving.validator.log.read_text() or "fenced" in serving.validator.log.read_text()
    serving.validator.start()
    changed = serving.ask(e.PromoteCommand, version=version(5))
    assert changed.champion.version == version(5)
    assert changed.revision == forced["changed"]["revision"] + 1
    found = serving.deployments()
    assert all(after.revision == before.revision + 1 for before, after in pairwise(found))
    assert found[0].champion.version == BASE

    result = CliRunner().invoke(
        app, ["replay", "--kafka-bootstrap-servers", serving.servers, "--data", str(serving.data), "--json"]
    )
    assert result.exit_code == 0, result.output


def test_a_replica_that_is_stopped_says_so(serving: Serving, tmp_path: Path) -> None:
    serving.replicas["b"].terminate()
    assert serving.replicas["b"].wait(60)
    done = pawl(serving, "rollback")
    assert done["replicas"]["there"] == ["pawl-inference-a"]
    assert done["replicas"]["gone"] == {}
