"""One suite for every transactional store: memory, DuckDB, Kafka transactions."""

import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from pawl_shared.buses.kafka_bus import KafkaBus
from pawl_shared.buses.memory_bus import MemoryBus
from pawl_shared.buses.port import Message, Partition
from pawl_shared.stores.duckdb import DuckDbStore
from pawl_shared.stores.kafka import KafkaStore
from pawl_shared.stores.memory import MemoryStore
from pawl_shared.stores.port import Commit, Effect, Seen, StateKey, StoredState, TransactionalStore
from pawl_shared.topics import Topic, state_topic

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
Open = Callable[[], TransactionalStore]


@pytest.fixture
def topic() -> str:
    return f"test.{uuid.uuid4().hex}"


@pytest.fixture(params=["memory", "duckdb", "kafka-memory", pytest.param("kafka", marks=pytest.mark.kafka)])
def reopen(request: pytest.FixtureRequest, tmp_path: Path, topic: str) -> Iterator[Open]:
    """Opens the store as a restarted process would: with nothing but what was committed."""
    opened: list[TransactionalStore] = []
    closers: list[Callable[[], None]] = []
    memory = MemoryStore()
    bus = None
    if "kafka" in request.param:
        bus = MemoryBus() if request.param == "kafka-memory" else KafkaBus(request.getfixturevalue("kafka"))
        service = f"test-{uuid.uuid4().hex}"
        bus.create_topics([state_topic(service), Topic(topic, "", (), partitions=2)])

    def make() -> TransactionalStore:
        while opened:
            opened.pop().close()
            if closers:
                closers.pop()()
        if request.param == "memory":
            store: TransactionalStore = memory
        elif request.param == "duckdb":
            connection = duckdb.connect(tmp_path / "test.duckdb")
            closers.append(connection.close)
            store = DuckDbStore(connection)
        else:
            assert bus is not None
            store = KafkaStore(bus, service, state_topic(service), [topic])
        store.open()
        opened.append(store)
        return store

    yield make
    for store in opened:
        store.close()


def test_everything_committed_survives_a_restart(reopen: Open, topic: str) -> None:
    store = reopen()
    part = Partition(topic, 1)
    store.positions([part])
    seen = Seen(NOW, uuid.uuid4())
    effect = Effect(uuid.uuid4(), "train", '{"a":1}')
    state = StoredState('{"n":1}', NOW)
    store.commit(Commit({part: 7}, {StateKey("f", "k"): state}, [seen], effects=[effect]))
    store = reopen()
    assert store.positions([part, Partition(topic, 0)]) == {part: 7}
    assert store.load([StateKey("f", "k"), StateKey("f", "other")]) == {StateKey("f", "k"): state}
    assert store.seen([seen, Seen(NOW, uuid.uuid4()), Seen(NOW + timedelta(hours=1), seen.id)]) == {seen}
    assert store.effects() == [effect]


def test_state_is_replaced_and_forgotten(reopen: Open) -> None:
    store = reopen()
    key = StateKey("f", "k")
    store.commit(Commit(states={key: StoredState("1")}))
    store.commit(Commit(states={key: StoredState("2", NOW)}))
    assert store.load([key]) == {key: StoredState("2", NOW)}
    store.commit(Commit(states={key: None}))
    assert store.load([key]) == {}
    assert reopen().load([key]) == {}


def test_all_states_are_found_whenever_they_were_written(reopen: Open) -> None:
    keys = [StateKey("f", f"k{n}") for n in range(10)]
    store = reopen()
    for n, key in enumerate(keys):
        store.commit(Commit(states={key: StoredState(str(n))}))
    for _ in range(2):
        found = store.load([*keys, StateKey("f", "other"), StateKey("g", "k1")])
        assert {key: state.value for key, state in found.items()} == {key: str(n) for n, key in enumerate(keys)}
        store = reopen()


def test_states_come_and_go_for_ever(reopen: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pawl_shared.stores.duckdb.STALE", 4)
    store, kept = reopen(), StateKey("f", "kept")
    store.commit(Commit(states={kept: StoredState("k")}))
    for n in range(20):
        store.commit(Commit(states={StateKey("f", f"k{n}"): StoredState(str(n))}))
        assert store.load([StateKey("f", f"k{n}")])
        store.commit(Commit(states={StateKey("f", f"k{n}"): None}))
        assert store.load([StateKey("f", f"k{n}"), kept]) == {kept: StoredState("k")}
    if isinstance(store, DuckDbStore):
        assert len(store._filter) < 12, "it forgets what was deleted"


def test_due_answers_the_earliest_first_and_one_fold_only(reopen: Open) -> None:
    store = reopen()
    when = {"late": 3, "early": 1, "never": 9}
    store.commit(Commit(states={StateKey("f", k): StoredState("1", NOW + timedelta(hours=h)) for k, h in when.items()}))
    store.commit(
        Commit(states={StateKey("f", "timeless"): StoredState("1"), StateKey("g", "x"): StoredState("1", NOW)})
    )
    assert store.due("f", NOW) == []
    assert store.due("f", NOW + timedelta(hours=3)) == ["early", "late"]


def test_effects_keep_their_order_until_they_are_done(reopen: Open) -> None:
    store = reopen()
    effects = [Effect(uuid.uuid4(), "train", str(n)) for n in range(3)]
    for effect in effects:
        store.commit(Commit(effects=[effect]))
    store.commit(Commit(done=[effects[1].id]))
    assert [effect.payload for effect in reopen().effects()] == ["0", "2"]


def test_messages_are_sent_once_and_in_order(reopen: Open, topic: str) -> None:
    store = reopen()
    messages = [Message(topic, b"k", str(n).encode(), (("h", b"\xff"),)) for n in range(3)]
    store.commit(Commit(messages=messages[:2]))
    store.commit(Commit(messages=messages[2:]))
    waiting = store.outgoing(10)
    if isinstance(store, KafkaStore):  # the commit itself sends them
        bus = store._bus
        assert waiting == []
        assert [r.value for r in bus.read(topic) if r] == [b"0", b"1", b"2"]
        return
    assert [message for _, message in waiting] == messages
    assert [message for _, message in reopen().outgoing(10)] == messages
    store = reopen()
    store.sent(store.outgoing(2)[-1][0])
    assert [message for _, message in reopen().outgoing(10)] == messages[2:]


def test_duckdb_can_be_asked_while_it_commits(tmp_path: Path) -> None:
    with duckdb.connect(tmp_path / "test.duckdb") as connection, ThreadPoolExecutor(1) as aside:
        store = DuckDbStore(connection)
        store.open()
        for number in range(10):
            key, seen = StateKey("f", str(number)), Seen(NOW, uuid.UUID(int=number))
            state = StoredState(str(number), NOW + timedelta(seconds=10 - number))  # ever earlier
            done = aside.submit(store.commit, Commit(states={key: state}, seen=[seen]))
            asked = 0
            while not done.done() or not asked:
                assert store.due("f", NOW) == []
                assert store.load([key]) in ({}, {key: state})
                assert store.seen([seen]) <= {seen}
                asked += 1
            done.result()
            assert store.due("f", state.due or NOW) == [str(number)]
            assert store.load([key]) == {key: state}
        store.close()
