"""The monitor's DuckDB: migrations, and data sets from its tables."""

import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from support.monitor import BASE, MODEL, START, interaction
from support.samples import SAMPLES

from pawl_monitor.storage import datasets, rows
from pawl_monitor.storage.cursors import Cursors
from pawl_monitor.storage.duckdb_store import migrate, open_database, shipped_migrations
from pawl_monitor.storage.reader import Reader
from pawl_monitor.storage.texts import Texts
from pawl_shared.artifacts import ArtifactStore
from pawl_shared.buses.port import Message
from pawl_shared.errors import ConfigurationError
from pawl_shared.events import ExperimentObserved, FeedbackReceived, InteractionScored
from pawl_shared.sealed.events import all_sealed
from pawl_shared.sealed.text import KeyRing, MemoryKeys, Opener
from pawl_shared.stores.duckdb import DuckDbStore
from pawl_shared.stores.port import Commit

REQUEST = datasets.Request(MODEL, START, START + timedelta(hours=1), BASE)


def test_migrations_are_applied_once(tmp_path: Path) -> None:
    path = tmp_path / "monitor" / "monitor.duckdb"
    open_database(path).close()
    again = open_database(path)
    assert migrate(again, shipped_migrations()) == []
    numbers = [number for number, _ in shipped_migrations()]
    assert numbers == list(range(1, len(numbers) + 1))
    again.close()


def test_a_failed_migration_leaves_nothing_behind() -> None:
    connection = open_database(None)
    known = shipped_migrations()
    with pytest.raises(Exception, match="nonsense"):
        migrate(connection, [*known, (len(known) + 1, "CREATE TABLE half(x INTEGER); SELECT nonsense")])
    tables = {name for (name,) in connection.execute("SELECT table_name FROM information_schema.tables").fetchall()}
    assert "half" not in tables
    assert migrate(connection, known) == []


def test_what_an_older_version_had_still_to_send_is_sent() -> None:
    connection = open_database(None)
    waiting = ["t", "aw==", "bGluZQpsaW5l", [["h", "/w=="], ["n", "ZWUA"]]]
    connection.execute("CREATE TABLE pawl_outbox(number BIGINT, message VARCHAR)")
    connection.execute("INSERT INTO pawl_outbox VALUES (7, ?)", [json.dumps(waiting)])
    expected = [(7, Message("t", b"k", b"line\nline", (("h", b"\xff"), ("n", b"ee\0"))))]
    for _ in range(2):
        store = DuckDbStore(connection)
        store.open()
        assert store.outgoing(10) == expected


def test_of_reports_of_one_time_the_later_one_on_its_topic_comes_first() -> None:
    report = next(event for event in SAMPLES if isinstance(event, ExperimentObserved))
    store = stored([])
    reports = [report.model_copy(update={"id": UUID(int=n), "sessions": n}) for n in range(9)]
    store.commit(Commit(rows=[rows.record_row(each, (0, each.sessions)) for each in reports]))
    found = Reader(Cursors(store._con)).records(report.model, (ExperimentObserved.TYPE,), 3)
    assert [record["value"]["sessions"] for record in found] == [8, 7, 6]


def test_a_newer_database_is_refused() -> None:
    connection = open_database(None)
    connection.execute("INSERT INTO pawl_migrations VALUES (99, now())")
    with pytest.raises(ConfigurationError, match="newer version"):
        migrate(connection, shipped_migrations())


def stored(events: list[InteractionScored]) -> DuckDbStore:
    connection = open_database(None)
    store = DuckDbStore(connection)
    store.open()
    store.commit(Commit(rows=[row for event in events for row in rows.interaction_rows(event, (0, 0))]))
    return store


def lines_of(events: list[InteractionScored], erased: Sequence[str] = ()) -> list[datasets.Line]:
    """What the events, sealed as the edge does, come to once the keys of some owners are lost."""
    keys = MemoryKeys()
    store = stored(all_sealed(events, KeyRing(keys)))
    for owner in erased:
        keys.erase(owner)
    return datasets.collect(store._con, REQUEST, Texts(Opener(keys)))


def said(event: InteractionScored, **changes: object) -> InteractionScored:
    """The same revision with other feedback."""
    assert event.feedback is not None
    return event.model_copy(update={"feedback": FeedbackReceived.model_validate(event.feedback.model_dump() | changes)})


def test_the_latest_statement_of_a_kind_wins() -> None:
    answer, up = interaction(1, START, reward=1.0)
    down = said(up, id="00000000-0000-0000-0000-000000000001", value=0.0, time=START + timedelta(seconds=9))
    (line,) = lines_of([answer, up, down])
    assert (line["kind"], line["label"], line["completion"]) == ("binary", False, answer.inference.answer)


def test_an_erased_text_is_left_out_and_a_plain_one_of_before_is_read() -> None:
    events = [event for number in range(1, 4) for event in interaction(number, START, reward=0.0, correction="Short.")]
    everything, kept = lines_of(events), lines_of(events, ["default/subject/user 2"])
    assert len(everything) == 6
    assert kept == [line for line in everything if line["subject"] != "user 2"]
    plain = datasets.collect(stored(events)._con, REQUEST, Texts(Opener(MemoryKeys())))
    assert plain == everything


def test_corrections_become_pairs_unless_they_change_nothing() -> None:
    answer, thumb, correction = interaction(1, START, reward=0.0, correction="Short.")
    lines = lines_of([answer, thumb, correction])
    pair = next(line for line in lines if line["kind"] == "pair")
    assert (pair["origin"], pair["chosen"], pair["rejected"]) == ("correction", "Short.", answer.inference.answer)
    assert [line["kind"] for line in lines] == ["binary", "pair"] or [line["kind"] for line in lines] == [
        "pair",
        "binary",
    ]
    same = said(correction, text=f" {answer.inference.answer} ")
    assert [line["kind"] for line in lines_of([answer, thumb, same])] == ["binary"]


def test_a_won_comparison_on_one_prompt_becomes_a_pair() -> None:
    won, thumb = interaction(1, START, reward=1.0)
    lost, _ = interaction(41, START, reward=0.0)  # the same prompt: prompts repeat after 40
    elsewhere, _ = interaction(2, START, reward=0.0)

    def compared(other: InteractionScored, value: float = 1.0) -> InteractionScored:
        return said(thumb, kind="comparison", value=value, other_inference_id=other.inference_id)

    (pair,) = lines_of([won, lost, compared(lost)])
    assert (pair["origin"], pair["chosen"], pair["rejected"]) == (
        "comparison", won.inference.answer, lost.inference.answer,
    )  # fmt: skip
    assert lines_of([won, elsewhere, compared(elsewhere)]) == []
    assert lines_of([won, lost, compared(lost, 0.0)]) == []


def test_of_two_choices_of_one_request_the_preferred_one_is_chosen() -> None:
    second, thumb = interaction(1, START, reward=1.0, choice=1)
    logged = second.inference.model_copy(update={"choice": 0, "answer": "The first."})
    first = second.model_copy(update={"choice": 0, "id": UUID(int=5), "inference": logged})
    compared = said(thumb, kind="comparison", value=1.0, other_inference_id=first.inference_id, other_choice=0)
    (pair,) = lines_of([first, second, compared])
    assert (pair["chosen"], pair["rejected"]) == (second.inference.answer, "The first.")
    mirrored = said(compared, choice=0, other_choice=1)
    (pair,) = lines_of([first, second, mirrored])
    assert (pair["chosen"], pair["rejected"]) == ("The first.", second.inference.answer)


def test_texts_that_were_gone_on_with_teach_nothing() -> None:
    text = interaction(1, START, reward=1.0, correction="Short.", form="text")
    assert lines_of(text) == []
    won, thumb = interaction(41, START, reward=1.0)
    compared = said(thumb, kind="comparison", value=1.0, other_inference_id=text[0].inference_id)
    assert lines_of([won, *text, compared]) == []


def test_other_times_models_and_pinned_answers_stay_out() -> None:
    pinned = interaction(1, START, reward=1.0, arm="pinned")
    early = interaction(2, START - timedelta(days=1), reward=1.0)
    late = interaction(3, START + timedelta(days=1), reward=1.0)
    assert lines_of([*pinned, *early, *late]) == []


def test_answers_to_a_prompt_that_an_experiment_put_before_them_teach_nothing() -> None:
    met = {"experiment": UUID(int=5), "experiment_arm": "kind", "arm": "experiment"}
    prompted = interaction(1, START, reward=1.0, correction="Short.", prompt_version="ab" * 32, **met)
    cooler = interaction(2, START, reward=1.0, **met)
    (line,) = lines_of([*prompted, *cooler])
    assert line["inference_ids"] == [str(cooler[0].inference_id)], "its settings are no part of the question"
    won, thumb = interaction(41, START, reward=1.0)
    compared = said(thumb, kind="comparison", value=1.0, other_inference_id=prompted[0].inference_id)
    assert lines_of([won, *prompted, compared]) == []


def test_a_snapshot_is_the_same_bytes_for_the_same_rows(tmp_path: Path) -> None:
    events = [event for n in range(60) for event in interaction(n, START, reward=float(n % 3 > 0), correction="No.")]
    artifacts = ArtifactStore(f"file://{tmp_path}/artifacts", tmp_path / "cache")
    digests = {datasets.freeze(lines_of(order), REQUEST, artifacts) for order in (events, events[::-1])}
    assert len(digests) == 1
    lines = lines_of(events)
    sides = {line["messages"][0]["content"]: set() for line in lines}
    for line in lines:
        sides[line["messages"][0]["content"]].add(line["split"])
    assert all(len(side) == 1 for side in sides.values())
    assert {split for side in sides.values() for split in side} == {"train", "heldout"}
    usable = datasets.usable(lines)
    assert sum(usable.model_dump().values()) == len(lines)
