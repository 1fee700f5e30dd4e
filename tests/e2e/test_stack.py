"""All services as processes on a real broker, with a tiny model: what a whole Pawl must survive."""

import json
import re
import sys
import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from benchmarks.support.tiny_model import write_random_tiny
from support import told_elsewhere
from support.nasty_http import CASES, KEY
from support.nasty_stack import NOW, BriefClient, dead_letters, letters, send, sendings
from support.streams import direct
from support.told_elsewhere import MODEL
from support.whole_stack import ask, counts, interaction, stands, until
from typer.testing import CliRunner

from pawl_cli.__main__ import app
from pawl_cli.running.process import STEADY_HEAP
from pawl_cli.running.stack import Options, Stack
from pawl_inference.domain.external import version_of
from pawl_shared.access.tokens import Grant, KeyRing, is_marked
from pawl_shared.buses.port import Message, Record
from pawl_shared.codec import decode, header
from pawl_shared.events import DeadLetter, SessionObserved
from pawl_shared.sealed.text import PREFIX
from pawl_shared.topics import DEAD_LETTERS, EVIDENCE, FEEDBACK, KEYS, TOPICS

LAG = r"^pawl_consumer_lag\{service=\"(\w+)\"\} (\S+)$"
pytestmark = [pytest.mark.kafka, pytest.mark.model, pytest.mark.slow, pytest.mark.timeout(420)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    base = write_random_tiny(tmp_path_factory.mktemp("base") / "tiny")
    data = tmp_path_factory.mktemp("data")
    environment = {"PAWL_SESSION_GAP_SECONDS": "1", "PAWL_TICK_SECONDS": "0.5", "PAWL_TOKEN_KEY": KEY.hex()}
    if sys.platform == "linux":  # not the usual address: what asks elsewhere than they listen sees nothing
        environment["PAWL_HTTP_HOST"] = "127.0.0.2"
    # its own broker, since its topics have fixed names
    stack = Stack(Options(data=data, base=str(base), environment=environment))
    try:
        stack.start(lambda *_: None)
        yield stack
    finally:
        stack.stop()
    mine = [p for p in psutil.process_iter(["cmdline"]) if str(data) in " ".join(p.info["cmdline"] or ())]
    assert mine == []


def test_an_answer_and_what_was_thought_of_it_reach_the_monitor(stack: Stack) -> None:
    answer = ask(stack, "Why is the sky blue?")
    feedback = {
        "inference_id": answer.id,
        "token": answer.metadata["feedback_token"],
        "correction": "Air scatters blue.",
    }
    response = httpx.post(f"{stack.urls['inference']}/v1/feedback", json=feedback, timeout=30)
    assert response.status_code == 202, response.text
    found = until(
        lambda: (known := interaction(stack, answer.id)) and "Air scatters blue." in str(known) and known,
        "the correction did not reach the monitor",
    )
    assert found["answer"] == answer.choices[0].message.content


def test_inference_is_told_to_keep_its_heap_steady(stack: Stack) -> None:
    every = psutil.process_iter(["cmdline", "environ"])
    (found,) = [
        p.info["environ"]
        for p in every
        if "pawl_inference" in (p.info["cmdline"] or ())
        and (p.info["environ"] or {}).get("PAWL_DATA_DIR") == str(stack.options.data)
    ]
    assert STEADY_HEAP.items() <= found.items()


def at_rest(folder: Path) -> dict[Path, bytes]:
    """What lies on disk but for indexes, which Kafka allots 10 MB each, and what is gone before it is read."""
    found = {}
    for path in folder.rglob("*"):
        with suppress(OSError):
            if path.is_file() and path.suffix not in (".index", ".timeindex"):
                found[path] = path.read_bytes()
    return found


def without_texts(found: dict[str, Any]) -> dict[str, Any]:
    said = [{name: value for name, value in event.items() if name != "text"} for event in found["feedback_events"]]
    rest = {name: value for name, value in found.items() if name not in ("messages", "answer")}
    return rest | {"feedback_events": said}


def test_a_policy_is_applied_to_what_runs_and_tried_on_its_log(stack: Stack, tmp_path: Path) -> None:
    def pawl(*words: str) -> str:
        result = CliRunner().invoke(app, [*words, "--data", str(stack.options.data)], env={"COLUMNS": "200"})
        assert result.exit_code == 0, result.output
        return result.stdout

    file = tmp_path / "model.yaml"
    file.write_text("canary:\n  share: 0.3\ntriggers:\n  every: 1s\n  cooldown: 1s\n")
    assert "canary.share: 0.1 -> 0.3" in pawl("model", "apply", str(file), "--why", "a test")
    assert next(line.split("  ")[2] for line in pawl("model", "show", "--history").splitlines()) == "pawl up"
    pawl("pause", "--why", "to see it")

    def reasons() -> dict[str, str]:
        (found,) = json.loads(pawl("status", "--json"))
        assert found["policy"]["why"] == "a test"
        return {reason["name"]: reason["sentence"] for reason in found["trigger"]["reasons"]}

    until(lambda: "to see it" in reasons()["running"], "the pause is not told")
    until(lambda: "a run is due every" in reasons()["occasion"], "the schedule does not fall due")
    pawl("resume", "--why", "seen")
    until(lambda: "is not paused" in reasons()["running"], "it does not go on")
    found = json.loads(pawl("policy", "simulate", str(file), "--json"))
    assert found["records"] > 0
    assert {happening["what"] for happening in found["happenings"]} == {"waiting"}, "a word of feedback is not enough"


def test_an_experiment_with_two_prompts_is_begun_watched_and_ended(stack: Stack, tmp_path: Path) -> None:
    def pawl(*words: str) -> Any:
        options = ["--data", str(stack.options.data), "--json"]
        result = CliRunner().invoke(app, ["experiment", *words, *options])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    file = tmp_path / "tone.yaml"
    file.write_text(
        "name: tone\narms:\n  short: {share: 0.5, system: Be short.}\n  kind: {share: 0.5, system: Be kind.}\n"
    )
    begun = pawl("start", str(file), "--why", "a test")
    assert (begun["changed"]["change"], len(begun["replicas"]["there"])) == ("experiment", 1)
    for number in range(16):
        answer = ask(stack, f"What is {number}?", user=f"user {number}")
        assert answer.metadata["arm"] == "experiment"
        thumb = "up" if number % 4 else "down"
        said = {"inference_id": answer.id, "token": answer.metadata["feedback_token"], "thumb": thumb}
        assert httpx.post(f"{stack.urls['inference']}/v1/feedback", json=said, timeout=30).status_code == 202

    def seen() -> dict[str, Any] | None:
        report = pawl("status")["report"]
        return report if report and report["sessions"] == 16 else None

    report = until(seen, "not all of its sessions were observed")
    short, kind = report["arms"]
    assert (short["arm"], kind["arm"], short["sessions"] + kind["sessions"]) == ("short", "kind", 16)
    # A session is over after a second without news: on a busy machine some votes come too late to count.
    assert 0 < short["approval"]["n"] + kind["approval"]["n"] <= 16
    assert short["means"]["words"] > 0
    assert report["compared"][0]["low"] < 0 < report["compared"][0]["high"]
    until(lambda: "16 sessions" in httpx.get(stack.urls["monitor"]).text, "the console does not show it")

    assert pawl("stop", "--why", "seen enough")["changed"]["change"] == "experiment-over"
    found = pawl("status", "tone")
    assert (found["running"], found["report"]["over"], found["report"]["sessions"]) == (False, True, 16)
    after = ask(stack, "Who are you now?")
    assert after.metadata["arm"] == "champion"


def test_no_text_lies_open_on_disk_and_losing_the_key_erases_it_and_nothing_else(stack: Stack) -> None:
    # Letters only: 16 digits in a row were once taken for a card's number, and scrubbed.
    letters_only = str.maketrans("0123456789", "ghijklmnop")
    asked, corrected, commented = (
        f"{word} {uuid.uuid4().hex.translate(letters_only)}" for word in ("asked", "corrected", "commented")
    )
    answer = ask(stack, asked, user=uuid.uuid4().hex)
    feedback = {
        "inference_id": answer.id,
        "token": answer.metadata["feedback_token"],
        "thumb": "down",
        "correction": corrected,
        "comment": commented,
    }
    assert httpx.post(f"{stack.urls['inference']}/v1/feedback", json=feedback, timeout=30).status_code == 202

    def complete() -> dict[str, Any] | None:
        found = interaction(stack, answer.id)
        return found if found and all(text in str(found) for text in (asked, corrected, commented)) else None

    def evidence() -> list[Record]:
        session = str(before["session"]).encode()
        return [record for record in stack.bus.read(EVIDENCE.name) if record and session in (record.value or b"")]

    before = until(complete, "the feedback did not reach the monitor")
    observed = until(evidence, "the session was not observed")
    data = stack.options.data
    files = at_rest(data)
    assert [
        path for path, content in files.items() for text in (asked, corrected, commented) if text.encode() in content
    ] == []
    for part in ("kafka", "inference", "monitor"):  # the same search finds what stands there sealed
        assert any(PREFIX.encode() in content for path, content in files.items() if path.is_relative_to(data / part)), (
            part
        )
    producer = stack.bus.producer("test")
    keys = {
        record.key
        for record in stack.bus.read(KEYS.name)
        if record and before["subject"].encode() in (record.key or b"")
    }
    for key in keys:
        producer.send(Message(KEYS.name, key, None)).result(30)
    producer.close()
    after = until(
        lambda: (found := interaction(stack, answer.id)) and found["answer"] == "[erased]" and found,
        "nothing was erased",
    )
    texts = [after["messages"][0]["content"], *(event["text"] for event in after["feedback_events"] if event["text"])]
    assert texts == ["[erased]"] * 3
    assert without_texts(after) == without_texts(before)
    assert evidence() == observed


def test_a_malformed_record_on_any_topic_ends_in_dead_letters_and_nothing_stops(stack: Stack) -> None:
    producer = stack.bus.producer("test")
    broken = [topic.name for topic in TOPICS if not topic.internal]
    for name in broken:
        producer.send(Message(name, b"key", b"\xff not an event", (("ce_type", b"\xfe"),))).result(30)
        producer.send(Message(name, b"key", None, ())).result(30)
    producer.close()

    def buried() -> bool:
        records = [record for record in stack.bus.read(DEAD_LETTERS.name) if record]
        letters = []
        for record in records:
            try:
                letters.append(decode(record))
            except Exception:
                continue
        assert all(isinstance(letter, DeadLetter) and letter.reason for letter in letters)
        return {letter.topic for letter in letters if isinstance(letter, DeadLetter)} >= set(broken)

    until(buried, "not every topic's malformed record was buried")
    stands(stack)


def test_every_service_says_how_far_it_is_behind(stack: Stack) -> None:
    def behind() -> dict[str, float]:
        texts = [httpx.get(f"{url}/metrics").text for url in stack.urls.values()]
        return {name: float(n) for text in texts for name, n in re.findall(LAG, text, re.MULTILINE)}

    told, ended = dict[str, float](), set[str]()

    def each_at_its_end() -> bool:
        # Not all at one moment: a tick comes every second, and on a busy machine one of them is always at it.
        told.update(behind())
        ended.update(name for name, records in told.items() if records == 0)
        return ended == set(stack.urls)

    until(each_at_its_end, "not every service has come to the end of its topics")
    assert told.keys() == stack.urls.keys()


def test_every_nasty_record_has_its_documented_outcome(stack: Stack) -> None:
    sent = sendings()
    places = iter(send(stack, [message for each in sent for message in each.messages]))
    placed = [(each, [next(places) for _ in each.messages]) for each in sent]
    wanted = {(each.consumer, place): each.case.reason for each, at in placed if each.dead for place in at}
    until(lambda: wanted.keys() <= letters(stack).keys(), "not all of them were buried")
    found = letters(stack)
    assert {key: found[key]["reason"] for key, part in wanted.items() if part not in found[key]["reason"]} == {}
    answers = set[uuid.UUID]().union(*(each.answers for each, _ in placed))
    until(lambda: all(interaction(stack, str(answer)) for answer in answers), "what can be handled was not")
    stands(stack)
    buried = letters(stack)
    assert [each.case.input for each, at in placed if not each.dead and (each.consumer, at[0]) in buried] == []

    before = counts(stack)
    send(stack, [message for each in sent if not each.dead for message in each.messages])
    stands(stack)
    assert counts(stack)["answers"] == before["answers"] + 1, "a replayed record counted again"


def test_every_nasty_request_has_its_documented_outcome(stack: Stack) -> None:
    def statements() -> set[str]:
        records = [record for record in stack.bus.read(FEEDBACK.name) if record and is_marked(ring, record)]
        return {str(header(record.headers, "ce_id")) for record in records}

    ring = KeyRing.of(KEY)
    before = statements()
    with httpx.Client(base_url=stack.urls["inference"], timeout=60) as http:
        for case in CASES:
            found = case.sends(BriefClient(http))
            for response in found if isinstance(found, list) else [found]:
                assert response.status_code == case.status, (case.input, response.text[:500])
                if response.status_code >= 400:
                    assert case.code in ("*", response.json()["error"]["code"]), (case.input, response.text[:500])
    assert len(statements() - before) == sum(case.stored for case in CASES)
    stands(stack)


def test_answers_made_elsewhere_become_evidence_and_training_data_and_are_replayed(stack: Stack) -> None:
    with httpx.Client(base_url=stack.urls["inference"], timeout=60) as http:
        posted = told_elsewhere.by_post(http, "What is a pawl?", "A cat.", correction="A catch for a wheel.")
        spanned = told_elsewhere.by_span(http, "What is a ratchet?", "A wheel with teeth.", thumb="up")

    def known() -> list[dict[str, Any]] | None:
        found = [interaction(stack, each) for each in (posted, spanned)]
        told = [each for each in found if each and each["feedback_events"] and each["messages"]]
        return told if len(told) == 2 else None

    for found, answer in zip(until(known, "not both of them reached DuckDB"), ("A cat.", "A wheel"), strict=True):
        assert (found["model"], found["arm"], found["answer"].startswith(answer)) == (MODEL, "external", True)

    def observed() -> list[SessionObserved]:
        records = [record for record in stack.bus.read(EVIDENCE.name) if record and record.key == MODEL.encode()]
        return [event for record in records if isinstance(event := decode(record), SessionObserved)]

    until(lambda: len(observed()) == 2, "not both of their sessions became evidence")
    assert {(each.arm, each.canary, each.rated) for each in observed()} == {("external", None, 1)}
    assert {each.version for each in observed()} == {version_of(*told_elsewhere.PROVIDER.values())}
    assert sorted(each.reward is not None and each.reward > 0.5 for each in observed()) == [False, True]
    usable = httpx.get(f"{stack.urls['monitor']}/api/usable", params={"model": MODEL}, timeout=30).json()["feedback"]
    assert sorted(kind for _, kind in usable) == ["pairs", "up"]
    result = CliRunner().invoke(app, ["replay", "--data", str(stack.options.data), "--json"], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["same"]


def test_a_dead_letter_counts_once_it_is_tried_again_with_its_cause_mended(stack: Stack) -> None:
    """An older token key was forgotten in the settings."""
    answer, forgotten = ask(stack, "What is a key?"), bytes(range(32, 64))
    known = until(lambda: interaction(stack, answer.id), "the answer did not reach the monitor")
    grant = Grant(uuid.UUID(answer.id), 0, known["model"], known["session"], None, NOW + timedelta(days=1))
    said = {"inference_id": answer.id, "kind": "correction", "text": "A secret."}
    headers = direct(KeyRing.of(forgotten), grant, uuid.uuid4().hex)
    [place] = send(stack, [Message(FEEDBACK.name, b"key", json.dumps(said).encode(), tuple(headers))])
    letter = until(lambda: letters(stack).get(("streams", place)), "what has no valid token was not buried")
    assert letter["state"] == "open"

    program = stack._programs["streams"]
    program._environment["PAWL_TOKEN_PREVIOUS_KEYS"] = json.dumps([forgotten.hex()])
    program.terminate()
    until(lambda: any(h.text == "started again" for h in stack.poll()), "streams was not started again")
    until(lambda: not stack.obstacles(), "streams did not come back")
    assert dead_letters(stack, "retry", letter["id"], "--why", "the key is back")["retried"] == [letter["id"]]
    until(lambda: "A secret." in str(interaction(stack, answer.id)), "the retry did not reach the monitor")
    assert letters(stack)["streams", place]["state"] == "retried"
    stands(stack)
