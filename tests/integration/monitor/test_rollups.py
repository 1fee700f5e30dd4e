"""Rollups, retention and earlier states, against what plain SQL over raw rows says."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from random import Random
from uuid import uuid5

import duckdb
import pytest
from support.monitor import MODEL, START, World, interaction

from pawl_monitor.domain.quantiles import quantile
from pawl_monitor.storage import as_of, retention, rollups
from pawl_monitor.storage.duckdb_store import migrate, open_database, shipped_migrations
from pawl_monitor.views.usage import usage_of
from pawl_shared import events as e
from pawl_shared.topics import INTERACTIONS

VERSIONS = ("b" * 64, "c" * 64)
RAW_SQL = """
SELECT date_trunc('hour', time) AS hour, version, arm, count(*) AS answers, count(*) FILTER (rated) AS rated,
       coalesce(sum(reward) FILTER (rated), 0) AS reward, list_sort(list(total_seconds)) AS seconds,
       count(*) FILTER (inference_id IN (SELECT inference_id FROM feedback)) AS with_feedback
FROM interactions GROUP BY ALL ORDER BY hour, version, arm
"""
COUNTS_SQL = f"""
SELECT (SELECT count(*) FROM answers) AS answers,
       (SELECT count(*) FROM answers WHERE time > '{START + timedelta(hours=2)}') AS answers_recent,
       (SELECT count(*) FROM feedback) AS feedback,
       (SELECT count(*) FROM feedback WHERE time > '{START + timedelta(hours=2)}') AS feedback_recent,
       (SELECT count(*) FROM feedback WHERE kind IN ('correction', 'comparison')) AS pairs,
       (SELECT count(*) FROM evidence) AS sessions, (SELECT count(reward) FROM evidence) AS rated
"""
COMPARED = ("hour", "version", "arm", "answers", "rated", "reward", "with_feedback")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


def history(rng: Random, number: int) -> list[e.InteractionScored]:
    """Answers over some hours, with revisions that come late, in any order, some of them twice."""
    events = []
    for index in range(number):
        time = START + timedelta(minutes=rng.uniform(0, 300))
        arm = rng.choice(("champion", "challenger"))
        reward = rng.choice((None, 0.0, 0.25, 1.0))
        found = interaction(index, time, reward=reward, arm=arm, version=rng.choice(VERSIONS))
        seconds = rng.lognormvariate(0, 1)
        first = found[0].inference
        assert first is not None
        slow = found[0].model_copy(update={"inference": first.model_copy(update={"total_seconds": seconds})})
        events += [slow, *found[1:]]
        if reward is not None and rng.random() < 0.5:  # another vote, later
            again = found[1].model_copy(
                update={"id": uuid5(found[1].id, "again"), "revision": 3, "reward": 0.5, "feedback": None}
            )
            events.append(again)
    events += rng.sample(events, number // 5)
    rng.shuffle(events)
    return events


def facts(cursor: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, object]]:
    result = cursor.execute(sql)
    names = [column[0] for column in result.description]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def compared(rows: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    return [{name: row[name] for name in COMPARED} for row in rows]


@pytest.mark.parametrize("seed", range(4))
def test_they_equal_a_recomputation_whenever_they_are_asked(world: World, seed: int) -> None:
    rng = Random(seed)
    events = history(rng, 60)
    while events:
        world.publish(*events[:25])
        del events[:25]
        world.clock.advance(7)
        world.tick(3)
        with world.reader.cursors.one() as cursor:
            if rng.random() < 0.5:
                rollups.roll(cursor)
            raw = facts(cursor, RAW_SQL)
            (rated,) = cursor.execute("SELECT count(reward) FROM evidence").fetchone() or (0,)
            [plain] = facts(cursor, COUNTS_SQL)
        usage = world.reader.usage(MODEL, START - timedelta(days=1))
        assert compared(usage) == compared(raw)
        check_quantiles(usage, raw)
        check_sessions(world, rated)
        found = world.reader.counts(MODEL, START + timedelta(hours=2))
        assert {name: found[name] for name in plain} == plain


def check_quantiles(usage: Sequence[dict], raw: Sequence[dict]) -> None:  # type: ignore[type-arg]
    for ours, theirs in zip(usage_of(usage), raw, strict=True):
        exact = theirs["seconds"]
        median = exact[(len(exact) + 1) // 2 - 1]
        assert ours["total_seconds"]["p50"] == pytest.approx(median, rel=0.046)


def check_sessions(world: World, rated: int) -> None:
    span = world.reader.span(MODEL)
    assert (span[2] if span else 0) == rated
    if span is None:
        return
    start = span[0] // 3600 * 3600
    by_hour = world.reader.series(MODEL, start, 3600.0, 48)
    raw = world.reader.series(MODEL, start, 3600.0 + 1e-9, 48)
    assert [(r["arm"], r["version"], r["bucket"], r["n"], r["total"]) for r in by_hour] == [
        (r["arm"], r["version"], r["bucket"], r["n"], r["total"]) for r in raw
    ]


def test_a_second_pass_finds_nothing_to_do(world: World) -> None:
    world.publish(*history(Random(1), 30))
    world.tick(1)
    with world.reader.cursors.one() as cursor:
        assert rollups.roll(cursor) > 0
        assert rollups.roll(cursor) == 0
        world.publish(*interaction(99, START, reward=1.0))
        world.tick(1)
        assert rollups.roll(cursor) == 1


def test_what_is_deleted_stays_in_the_rollups_and_evidence_is_not_deleted(world: World) -> None:
    world.publish(*(event for n in range(40) for event in interaction(n, START + timedelta(hours=n), reward=1.0)))
    world.tick(1)
    world.tick(60)
    before = world.reader.usage(MODEL, START - timedelta(days=1))
    span = world.reader.span(MODEL)
    kept = {"interactions": timedelta(hours=10), "replicas": None, "dead_letters": None, "seen": None}
    with world.reader.cursors.one() as cursor:
        now = START + timedelta(hours=40)
        assert retention.expire(cursor, now, kept, steps=5) == 5 * 4
        while retention.expire(cursor, now, kept, steps=5):
            pass
        left = cursor.execute("SELECT count(*), min(time) FROM answers").fetchone()
        assert left == (10, START + timedelta(hours=30))
        rollups.roll(cursor)
        assert cursor.execute("SELECT count(*) FROM evidence").fetchone() == (40,)
    assert world.reader.usage(MODEL, START - timedelta(days=1)) == before
    assert world.reader.span(MODEL) == span
    world.publish(*interaction(100, START, reward=0.0))  # too late to count
    world.tick(1)
    with world.reader.cursors.one() as cursor:
        rollups.roll(cursor)
    assert world.reader.usage(MODEL, START - timedelta(days=1)) == before


def test_the_state_at_a_time_and_at_an_offset(world: World) -> None:
    answer, up = interaction(1, START, reward=1.0)
    world.publish(answer)
    world.tick(1)
    then = world.reader.offsets(INTERACTIONS.name)
    world.publish(up)
    world.tick(1)
    inference = str(answer.inference_id)
    assert world.reader.interaction(inference)["feedback_events"] != []
    assert world.reader.interaction(inference, then)["feedback_events"] == []
    assert world.reader.interaction(inference, START + timedelta(seconds=1))["rated"] is False
    assert world.reader.interaction(inference, START - timedelta(seconds=1)) is None
    assert [(row["answers"], row["rated"]) for row in world.reader.summary(MODEL, then)] == [(1, 0)]
    assert [(row["answers"], row["rated"]) for row in world.reader.summary(MODEL)] == [(1, 1)]


def test_moments_are_read_from_text() -> None:
    assert as_of.moment_of("", "") is None
    assert as_of.moment_of("", "0:12,3:4") == {0: 12, 3: 4}
    assert as_of.moment_of("2026-01-01T12:00:00+00:00", "") == START
    for time, offsets in (("noon", ""), ("2026-01-01", ""), ("", "1"), ("2026-01-01T12:00:00Z", "0:1")):
        with pytest.raises(as_of.MomentError):
            as_of.moment_of(time, offsets)


def test_quantiles_of_an_empty_histogram_are_unknown() -> None:
    assert quantile({}, 0.5) is None


def test_every_earlier_version_is_brought_up_to_date(tmp_path: Path) -> None:
    migrations = shipped_migrations()
    for earlier in range(1, len(migrations)):
        old = duckdb.connect(str(tmp_path / f"{earlier}.duckdb"))
        migrate(old, migrations[:earlier])
        old.execute(OLD_ANSWER)
        old.close()
        new = open_database(tmp_path / f"{earlier}.duckdb")
        assert new.execute("SELECT session, rated FROM interactions").fetchall() == [("s", False)]
        assert new.execute("SELECT part FROM answers").fetchall() == [(None,)]
        tables = "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE NOT internal ORDER BY ALL"
        fresh = open_database(None)
        assert new.execute(tables).fetchall() == fresh.execute(tables).fetchall()
        new.close()


OLD_ANSWER = """
INSERT INTO answers BY NAME SELECT uuid() AS event_id, now() AS time, uuid() AS inference_id, 0 AS choice, 'm' AS model,
  's' AS session, '[]' AS messages, 'a' AS answer, 'stop' AS finish_reason, 'champion' AS arm, 'b' AS version,
  1 AS deployment, 1 AS words, 1 AS prompt_tokens, 1 AS answer_tokens, 0.1 AS first_token_seconds, 1 AS total_seconds
"""
