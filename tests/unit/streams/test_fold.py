"""Whatever the order, the repeats and the delays: the end equals a batch computation over the whole log."""

import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.samples import FEEDBACK, INFERENCE

from pawl_shared.events import FeedbackReceived, InferenceLogged, InteractionScored
from pawl_shared.policies.reward_policy import RewardPolicy, Weight
from pawl_streams.feedback_join import answer_key
from pawl_streams.fold import Arrival, JoinFold
from pawl_streams.lateness import Watermark, Window
from pawl_streams.outcomes import MAX_ANSWERS
from pawl_streams.policy import Policies

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
REWARD = RewardPolicy(comparison=Weight(weight=0.5), discount=0.5)
FOLD = JoinFold("test", lambda text: "en" if text else None, Policies(rewards=lambda _: REWARD))


def answer_id(number: int) -> uuid.UUID:
    """UUIDv7 of an answer, `number` seconds after the start."""
    milliseconds = int((START + timedelta(seconds=number)).timestamp() * 1000)
    return uuid.UUID(int=milliseconds << 80 | 7 << 76 | 2 << 62 | number)


def inference(number: int, answer: str = "one two three four five six seven eight") -> InferenceLogged:
    when = START + timedelta(seconds=number)
    changes = {"id": uuid.uuid4(), "inference_id": answer_id(number), "time": when, "answer": answer, "session": "s"}
    return INFERENCE.model_copy(update=changes)


def said(number: int, kind: str, value: float | None, after: timedelta, text: str | None = None) -> FeedbackReceived:
    changes = {"id": uuid.uuid4(), "inference_id": answer_id(number), "time": START + timedelta(seconds=number) + after}
    name = "resolved" if kind == "outcome" else "copied" if kind == "signal" else ""
    other = uuid.UUID(int=1) if kind == "comparison" else None
    changes |= {"session": "s", "kind": kind, "value": value, "text": text, "name": name, "other_inference_id": other}
    return FEEDBACK.model_copy(update=changes)


class Table:
    """Runs the fold as the agent does, and keeps what a reader that drops repeated ids would have."""

    def __init__(self) -> None:
        self.states: dict[str, dict[str, Any]] = {}
        self.published: dict[uuid.UUID, InteractionScored] = {}
        self.outcomes: list[str] = []

    def take(self, events: Iterable[Arrival], stop_before_publishing: frozenset[int] = frozenset()) -> None:
        for number, event in enumerate(events):
            folded = FOLD.step(self.states.get, event, event.time)
            self.states |= folded.states
            self.outcomes.append(folded.outcome)
            if number not in stop_before_publishing:
                for revision in folded.revisions:
                    self.published.setdefault(revision.id, revision)

    def rewards(self) -> dict[str, float | None]:
        """By answer, as the monitor sees it: the highest revision wins."""
        latest: dict[str, InteractionScored] = {}
        for revision in self.published.values():
            key = answer_key(revision)
            if key not in latest or latest[key].revision <= revision.revision:
                latest[key] = revision
        return {key: revision.reward if revision.joined else None for key, revision in latest.items()}


def batch(events: Sequence[Arrival]) -> dict[str, float | None]:
    """The same from all events at once, written in another way."""
    known = {answer_key(e): e for e in events if isinstance(e, InferenceLogged)}
    feedback = [e for e in events if isinstance(e, FeedbackReceived)]
    in_time = [
        e for e in feedback if e.time - START - timedelta(seconds=e.inference_id.int & 0xFF) <= timedelta(days=7)
    ]
    in_time.sort(key=lambda e: (e.time, str(e.id)))
    outcome = next((e.value for e in reversed(in_time) if e.kind == "outcome"), None)
    places = {key: place for place, key in enumerate(sorted(known, reverse=True))}
    found: dict[str, float | None] = {}
    for key in {answer_key(e) for e in events}:
        latest = {e.kind: e for e in in_time if answer_key(e) == key and e.kind not in ("outcome", "comment")}
        weights = {"thumb": 1.0, "rating": 1.0, "correction": 1.0, "comparison": 0.5, "signal": 0.25}
        pairs = [(weights[kind], _value(e)) for kind, e in latest.items()]
        if outcome is not None and key in places:
            pairs.append((0.5 ** places[key], outcome))
        total = sum(weight for weight, _ in pairs)
        found[key] = sum(w * v for w, v in pairs) / total if total and key in known else None
    return found


def _value(event: FeedbackReceived) -> float:
    if event.kind == "correction":
        return 0.75  # one word of eight: 7/8 unchanged, halved by what has to be unchanged
    assert event.value is not None
    return (event.value - 1) / 4 if event.kind == "rating" else event.value


CORRECTION = "one two three four five six seven ACHT"
STATEMENTS = st.builds(
    lambda number, kind, value, hours: said(
        number,
        kind,
        {"rating": 1 + 4 * value, "correction": None, "comment": None}.get(kind, value),
        timedelta(hours=hours),
        CORRECTION if kind in ("correction", "comment") else None,
    ),
    st.integers(1, 4),
    st.sampled_from(["thumb", "rating", "correction", "comparison", "signal", "comment", "outcome"]),
    st.sampled_from([0, 1]),
    st.sampled_from([0, 1, 2, 167, 169, 400]),
)


@given(st.data(), st.lists(STATEMENTS, max_size=8), st.sets(st.integers(1, 4)))
def test_any_history_equals_a_batch_computation_over_the_log(
    data: st.DataObject, feedback: list[FeedbackReceived], answered: set[int]
) -> None:
    log: list[Arrival] = [*(inference(number) for number in answered), *feedback]
    repeats = data.draw(st.lists(st.sampled_from(log), max_size=6)) if log else []
    order = data.draw(st.permutations([*log, *repeats]))
    table = Table()
    table.take(order)
    assert table.rewards() == pytest.approx(batch(log))
    assert {r.feedback.id for r in table.published.values() if r.feedback} == {e.id for e in feedback}


@given(st.data(), st.lists(STATEMENTS, min_size=1, max_size=6), st.sets(st.integers(1, 4), min_size=1))
def test_a_crash_between_storing_and_publishing_loses_nothing(
    data: st.DataObject, feedback: list[FeedbackReceived], answered: set[int]
) -> None:
    log: list[Arrival] = data.draw(st.permutations([*(inference(number) for number in answered), *feedback]))
    unpublished = data.draw(st.sets(st.integers(0, len(log) - 1)))
    table = Table()
    table.take(log, frozenset(unpublished))
    # What was not acknowledged comes again, between whatever else there is.
    table.take(data.draw(st.permutations([log[number] for number in unpublished])))
    assert table.rewards() == pytest.approx(batch(log))


def test_feedback_after_the_window_is_an_orphan_with_a_reason_and_does_not_count() -> None:
    table, late = Table(), said(1, "thumb", 1, timedelta(days=7, seconds=1))
    table.take([late, inference(1), said(1, "thumb", 0, timedelta(days=7))])
    orphan = next(r for r in table.published.values() if r.feedback and r.feedback.id == late.id)
    assert (orphan.joined, orphan.reward, orphan.revision) == (False, None, 0)
    assert "too late: 7 days, 0:00:01 after its answer" in orphan.reason
    assert table.rewards() == {answer_key(inference(1)): 0.0}
    assert table.outcomes == ["late", "joined", "joined"]


def test_orphans_are_told_from_joins() -> None:
    table = Table()
    table.take([said(1, "thumb", 1, timedelta(0)), inference(1), said(2, "thumb", 1, timedelta(0))])
    assert table.outcomes == ["waiting", "found", "waiting"]


def test_an_outcome_reaches_the_last_answers_of_a_long_session_in_any_order() -> None:
    log: list[Arrival] = [*(inference(n) for n in range(MAX_ANSWERS + 2)), said(3, "outcome", 1, timedelta(hours=1))]
    for order in (log, log[::-1]):
        table = Table()
        table.take(order)
        rewards = table.rewards()
        assert sum(value is not None for value in rewards.values()) == MAX_ANSWERS
        assert rewards[answer_key(inference(0))] is rewards[answer_key(inference(1))] is None


def test_texts_are_scrubbed_and_described() -> None:
    table = Table()
    asked = inference(1, "Write to ada@example.org").model_copy(update={"metadata": {"who": "ada@example.org"}})
    table.take([asked, said(1, "comment", None, timedelta(0), "or call +1 415 555 2671")])
    told, commented = table.published.values()
    assert told.inference is not None
    assert told.inference.answer == "Write to <email>"
    assert told.inference.metadata == {"who": "<email>"}
    assert commented.feedback is not None
    assert commented.feedback.text == "or call <phone>"
    assert (told.scrubbed, commented.scrubbed) == ({"email": 2}, {"phone": 1})
    assert (told.language, told.answer_language) == ("en", "en")
    assert (told.statistics["turns"], told.statistics["answer_words"]) == (1, 3)


def test_states_go_when_their_window_is_over_and_no_clock_drops_others() -> None:
    table, mark = Table(), Watermark()
    table.take([inference(1)])
    state = {**table.states[answer_key(inference(1))], "partition": 3}
    mark.reached(START + timedelta(days=1000), appended=START + timedelta(days=8))
    assert mark.now == START + timedelta(days=8)
    assert not FOLD.droppable(state, 3, mark.now)
    mark.reached(START + timedelta(days=8, seconds=2), appended=START + timedelta(days=9))
    assert FOLD.droppable(state, 3, mark.now)
    assert not FOLD.droppable(state, 4, mark.now)
    assert not Window(wait=timedelta(days=30)).over(START, mark.now)


def test_a_sweep_is_due_once_an_hour_of_events() -> None:
    mark = Watermark()
    assert not mark.sweep_due()
    mark.reached(START, START)
    assert (mark.sweep_due(), mark.sweep_due()) == (True, False)
    mark.reached(START + timedelta(hours=1), START + timedelta(hours=1))
    assert mark.sweep_due()
