"""Sessions: one observation each, whatever comes twice, late or in another order."""

from datetime import timedelta
from itertools import permutations
from uuid import UUID

from support.monitor import BASE, START, interaction
from support.samples import uid

from pawl_monitor.domain.sessions import MAX_METRICS, Session, SessionPolicy
from pawl_shared.events import FeedbackReceived, InteractionScored, SessionObserved

POLICY = SessionPolicy(gap=timedelta(seconds=30), remembered=timedelta(hours=1))


def fold(events: list[InteractionScored]) -> Session:
    state: Session | None = None
    for event in events:
        state, _ = POLICY.step(state, event, event.time)
    assert state is not None
    return state


def observe(state: Session) -> SessionObserved:
    _, _, observed = POLICY.close(state, state.arrived + POLICY.gap, "test")
    assert observed is not None
    return observed


def test_the_mean_of_rated_answers_is_observed_once() -> None:
    first, second = (interaction(n, START, reward=r, session="s") for n, r in ((1, 1.0), (2, 0.0)))
    third = interaction(3, START, session="s")
    state = fold([*first, *second, *third])
    closed, due, observed = POLICY.close(state, state.arrived + POLICY.gap, "test")
    assert observed is not None
    assert (observed.reward, observed.answers, observed.rated) == (0.5, 3, 2)
    assert observed.statistics["words"] == 10
    assert closed is not None
    assert closed.answers == {}
    late, _ = POLICY.step(closed, interaction(4, START, reward=0.0, session="s")[0], START + timedelta(minutes=5))
    assert POLICY.close(late, START + timedelta(minutes=30), "test")[2] is None
    assert due is not None
    assert POLICY.close(closed, due, "test") == (None, None, None)


def test_it_stays_open_until_the_gap_has_passed() -> None:
    state = fold(interaction(1, START, reward=1.0))
    assert POLICY.close(state, state.arrived + POLICY.gap - timedelta(seconds=1), "test")[2] is None
    assert POLICY.close(state, state.arrived + POLICY.gap, "test")[2] is not None


def test_the_order_of_arrival_does_not_matter() -> None:
    events = interaction(1, START, reward=0.0, correction="Short.")
    seen = {observe(fold(list(order))).model_dump_json() for order in permutations(events)}
    assert len(seen) == 1


def test_duplicates_change_nothing() -> None:
    events = interaction(1, START, reward=1.0)
    assert observe(fold(events)) == observe(fold([*events, *events]))


def told_again(events: list[InteractionScored]) -> list[InteractionScored]:
    """What a partition's new owner says of records that the last one may have handled: no texts, higher revisions."""
    return [
        event.model_copy(update={"id": uid(100 + n), "revision": 1024 + n, "inference": None, "feedback": None})
        for n, event in enumerate(events)
    ]


def test_standings_that_are_told_again_are_no_other_evidence() -> None:
    answer, *said = interaction(1, START, reward=0.0, correction="Short.")
    wanted = observe(fold([answer, *said]))
    again = told_again([answer, *said])
    for place in range(1, len(said) + 2):  # a telling stands behind its record, and before the rest
        events = [answer, *said][:place] + again[:place] + [answer, *said][place:] + again[place:]
        assert observe(fold(events)) == wanted


def test_a_session_that_was_observed_is_not_opened_by_them() -> None:
    events = interaction(1, START, reward=1.0)
    closed, due, _ = POLICY.close(fold(events), START + timedelta(minutes=1), "test")
    assert closed is not None
    for event in told_again(events):
        assert POLICY.step(closed, event, START + timedelta(minutes=2)) == (closed, due)


def test_alone_they_are_no_evidence() -> None:
    """Those of a session that is forgotten, as its partition was nobody's for so long."""
    state = fold(told_again(interaction(1, START, reward=1.0)))
    assert POLICY.close(state, state.arrived + POLICY.gap, "test")[2] is None
    assert POLICY.close(state, state.arrived + POLICY.remembered, "test") == (None, None, None)


def test_an_open_session_waits_from_their_arrival_as_from_any_other() -> None:
    events = interaction(1, START, reward=1.0)
    state, due = POLICY.step(fold(events), told_again(events)[-1], START + timedelta(seconds=20))
    assert due == START + timedelta(seconds=20) + POLICY.gap
    assert state.ended == events[-1].time, "they are no news of the session"


def test_nobody_rated() -> None:
    observed = observe(fold(interaction(1, START)))
    assert (observed.reward, observed.rated, observed.answers) == (None, 0, 1)


def test_feedback_without_its_inference_is_no_evidence() -> None:
    (_, thumb) = interaction(1, START, reward=1.0)
    state = fold([thumb.model_copy(update={"joined": False})])
    assert POLICY.close(state, state.arrived + POLICY.gap, "test")[2] is None


def test_feedback_that_waited_long_for_its_answer_counts_all_the_same() -> None:
    answer, thumb = interaction(1, START, reward=1.0)
    orphan = thumb.model_copy(update={"inference": None, "joined": False})
    state, due, observed = POLICY.close(fold([orphan]), orphan.time + 2 * POLICY.gap, "test")
    assert (observed, due) == (None, orphan.time + POLICY.remembered)
    state, due = POLICY.step(state, answer.model_copy(update={"revision": 3, "reward": 1.0}), START + 3 * POLICY.gap)
    assert due == START + 4 * POLICY.gap
    assert observe(state).reward == 1.0


def test_feedback_whose_answer_never_comes_is_forgotten_in_time() -> None:
    orphan = interaction(1, START, reward=1.0)[1].model_copy(update={"inference": None, "joined": False})
    assert POLICY.close(fold([orphan]), orphan.time + POLICY.remembered, "test") == (None, None, None)


def test_a_session_that_met_two_versions_speaks_for_the_first() -> None:
    first = interaction(1, START, reward=1.0, session="s")
    second = interaction(2, START + timedelta(seconds=5), reward=0.0, session="s", version="c" * 64, arm="challenger")
    observed = observe(fold([*second, *first]))
    assert (observed.version, observed.arm, observed.reward, observed.answers) == (BASE, "champion", 1.0, 1)


def test_a_session_tells_its_arm_and_speaks_for_the_one_that_it_met_first() -> None:
    met = {"experiment": UUID(int=5), "experiment_arm": "kind", "arm": "experiment", "session": "s"}
    before = interaction(1, START, reward=0.0, session="s")
    within = interaction(2, START + timedelta(seconds=5), reward=1.0, **met)
    observed = observe(fold(within))
    assert (observed.experiment, observed.experiment_arm, observed.arm) == (UUID(int=5), "kind", "experiment")
    observed = observe(fold([*before, *within]))
    assert (observed.experiment, observed.experiment_arm, observed.reward) == (None, "", 0.0)


def test_an_apps_own_numbers_are_means_over_the_answers_that_have_one() -> None:
    first = interaction(1, START, session="s", metadata={"app": "shop"})[0].model_copy(update={"language": "de"})
    second = interaction(2, START + timedelta(seconds=1), session="s", metadata={"app": "blog"})[0]
    third = interaction(3, START + timedelta(seconds=2), session="s")[0]

    def told(of: InteractionScored, revision: int, value: float, name: str = "steps") -> InteractionScored:
        said = FeedbackReceived(
            id=UUID(int=revision), time=START, source="test", inference_id=of.inference_id, model=of.model, session="s",
            kind="metric", name=name, value=value,
        )  # fmt: skip
        return of.model_copy(update={"inference": None, "revision": revision, "feedback": said})

    corrected = told(first, 3, 4).model_copy(update={"revision": 2})  # the number weighs nothing: no new revision
    assert observe(fold([first, told(first, 2, 9), corrected])).statistics["metric/steps"] == 4
    events = [first, second, third, told(first, 2, 9), told(first, 3, 4), told(second, 2, 2)]
    events += [told(second, 3 + i, 1.0, f"n{i}") for i in range(MAX_METRICS + 5)]
    seen = {
        observe(fold(order)).model_dump_json() for order in (events, [*events[3:5][::-1], *events[:3], *events[5:]])
    }
    assert len(seen) == 1
    observed = SessionObserved.model_validate_json(seen.pop())
    assert observed.statistics["metric/steps"] == 3
    assert len([name for name in observed.statistics if name.startswith("metric/")]) == MAX_METRICS
    assert (observed.tags, observed.language, observed.reward) == ({"app": "shop"}, "de", None)
