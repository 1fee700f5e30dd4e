"""An alarm that nobody's feedback explains opens a review of the prompts that moved, and every alarm advises a cure."""

import random
from base64 import b64encode
from collections import Counter
from datetime import timedelta
from uuid import UUID, uuid5

import pytest
from support.monitor import BASE, GRAPH, MODEL, START

from pawl_monitor.domain.advice import advise
from pawl_monitor.domain.approval import ApprovalPolicy
from pawl_monitor.domain.assessment import ENOUGH, Pending, assess, awaiting, displaced
from pawl_monitor.domain.clusters import KEPT, Cluster, Recent, clusters_of
from pawl_monitor.domain.detectors import Direction
from pawl_monitor.domain.intervals import Estimate, estimate
from pawl_monitor.domain.output import OutputPolicy
from pawl_monitor.domain.review import SAMPLE
from pawl_monitor.domain.traffic import TrafficPolicy
from pawl_monitor.domain.watch import WatchPolicy
from pawl_monitor.domain.watched import Watched
from pawl_shared import events as e

POLICY = WatchPolicy(
    ApprovalPolicy(n0=60), traffic=TrafficPolicy(reference=200, calibration=200, block=128), output=OutputPolicy(n0=60)
)
TOPICS = 5


def sketch(rng: random.Random, topic: int) -> str:
    """Near the middle of a topic."""
    middle = [rng_.randint(-70, 70) for rng_ in [random.Random(topic)] for _ in range(24)]
    return b64encode(bytes((round(rng.gauss(m, 12)) & 0xFF) for m in middle)).decode()


def session(rng: random.Random, number: int, topic: int, reward: float | None) -> e.SessionObserved:
    time = START + timedelta(seconds=number)
    return e.SessionObserved(
        id=uuid5(UUID(int=1), str(number)), cause=uuid5(UUID(int=2), f"{topic}/{number}"), time=time, source="test",
        model=MODEL, session=f"s{number}", arm="champion", version=BASE, revision=1, reward=reward, answers=1,
        rated=int(reward is not None), started=time, ended=time, prompt_sketch=sketch(rng, topic),
        statistics={"words": rng.lognormvariate(3, 0.4), "seconds": 1 + rng.random()},
    )  # fmt: skip


def history(change: int, rated: float, new: float = 0.7, liked: float = 0.9) -> tuple[Watched, list[e.Event]]:
    """Three topics alike until `change`; then a fourth has a share of `new`, and its answers are liked by `liked`."""
    rng, found, state = random.Random(1), list[e.Event](), Watched(model=MODEL)
    for number in range(change + 400):
        topic = 3 if number >= change and rng.random() < new else rng.randrange(3)
        likes = liked if topic == 3 else 0.9
        reward = float(rng.random() < likes) if rng.random() < rated else None
        seen = POLICY.observed(state, session(rng, number, topic, reward), "test")
        state = seen.state
        found += seen.events
        if any(isinstance(event, e.DriftAssessed) for event in found):
            break
    return state, found


def topic_of(example: UUID, most: int = 1200) -> int:
    return next(t for t in range(TOPICS) if example in {uuid5(UUID(int=2), f"{t}/{n}") for n in range(most)})


def test_new_prompts_open_a_review_of_just_them() -> None:
    _, (alarm, assessed, review) = history(700, rated=0.02)
    assert isinstance(alarm, e.DriftDetected)
    assert isinstance(assessed, e.DriftAssessed)
    assert isinstance(review, e.ReviewRequested)
    assert alarm.detector.startswith("traffic/")
    assert assessed.sessions == ENOUGH
    first = assessed.clusters[0]
    assert first.moved
    assert first.before.point < 0.02
    assert first.after.low > 0.3
    assert {topic_of(example) for example in first.examples} == {3}
    assert (review.alarm, review.cause, review.since) == (alarm.id, assessed.cause, alarm.since)
    assert len(review.items) == min(SAMPLE, review.population) == len({item.inference_id for item in review.items})
    assert {topic_of(item.inference_id) for item in review.items} == {3}
    assert alarm.advice is not None
    assert (alarm.advice.cure, assessed.advice.cure) == ("review", "review")


def test_a_review_comes_out_again_and_another_alarm_draws_others() -> None:
    _, first = history(700, rated=0.02)
    _, again = history(700, rated=0.02)
    _, other = history(705, rated=0.02)
    assert first == again
    items = [{item.inference_id for event in found if isinstance(event, e.ReviewRequested) for item in event.items}
             for found in (first, other)]  # fmt: skip
    assert items[0] != items[1]


@pytest.mark.parametrize(("liked", "cure"), [(0.9, "prompt"), (0.3, "train")])
def test_where_people_rate_there_is_no_review_and_the_cure_depends_on_what_they_say(liked: float, cure: str) -> None:
    _, found = history(700, rated=1.0, liked=liked)
    assert not [event for event in found if isinstance(event, e.ReviewRequested)]
    assert [event.advice.cure for event in found if isinstance(event, e.DriftAssessed)] == [cure]


def test_a_draw_gives_each_group_its_part_and_any_first_part_is_mixed() -> None:
    rng, recent = random.Random(3), []
    for number in range(KEPT):
        topic = rng.choice((0, 1, 2)) if number < 200 else rng.choice((0, 2, 3, 3, 3, 4))
        recent.append(Recent(str(uuid5(UUID(int=2), f"{topic}/{number}")), sketch(rng, topic), float(number), None))
    began = START.fromtimestamp(200, START.tzinfo)
    found = clusters_of(UUID(int=9), (), recent, began)
    grown = [cluster for cluster in found if cluster.grew]
    topics = [Counter(topic_of(UUID(member.example), 600) for member in c.members).most_common(1)[0][0] for c in grown]
    assert set(topics) == {3, 4}
    assert sum(len(cluster.members) for cluster in found) == KEPT - 200
    assert found == clusters_of(UUID(int=9), (), recent, began)
    assert clusters_of(UUID(int=9), (), recent[:210], began) == ()  # ten sessions make no groups


def rate(liked: int, n: int) -> Estimate | None:
    return estimate(liked, n)


def cluster(before: int, after: int, liked: tuple[int, int], n: tuple[int, int] = (100, 100)) -> Cluster:
    """Shares in percent of 400 sessions; people who liked it of n."""
    shares = estimate(4 * before, 400), estimate(4 * after, 400)
    assert shares[0] is not None
    assert shares[1] is not None
    return Cluster(shares[0], shares[1], rate(liked[0], n[0]), rate(liked[1], n[1]), ())


SAME = (cluster(50, 52, (80, 50)), cluster(50, 48, (80, 40)))


@pytest.mark.parametrize(
    ("statistic", "direction", "clusters", "cure", "word"),
    [
        ("approval", "drop", SAME, "train", "every group"),
        ("approval", "drop", (cluster(50, 52, (80, 50)), cluster(50, 48, (80, 85))), "train", "prompts"),
        ("approval", "drop", (cluster(2, 60, (60, 62)), cluster(98, 40, (80, 82))), "prompt", "retrieval"),
        ("approval", "rise", SAME, "none", "more than before"),
        ("seconds above 1.2", "rise", SAME, "infrastructure", "load"),
        ("approval", "drop", (), "train", "not known yet"),
        ("approval", "drop", (cluster(50, 52, (0, 0), (0, 0)),), "train", "not known yet"),
        (
            "approval",
            "drop",
            (cluster(2, 60, (60, 20)), cluster(98, 40, (80, 82))),
            "train",
            "groups of prompts that grew",
        ),
        ("approval", "drop", (cluster(20, 60, (60, 20)), cluster(80, 40, (80, 60))), "train", "every group"),
        ("approval where language=de", "rise", SAME, "none", "more than before"),
        ("seconds above 1.2 where language=de", "rise", SAME, "infrastructure", "load"),
        ("first_token_seconds", "rise", SAME, "infrastructure", "load"),
        ("seconds above 1.2", "drop", SAME, "none", "less time"),
        ("failed", "rise", SAME, "infrastructure", "engine"),
        ("failed", "drop", SAME, "none", "fewer"),
        ("cut", "drop", SAME, "none", "fewer"),
        ("cut", "rise", SAME, "prompt", "max_tokens"),
        ("words above 20", "drop", (cluster(50, 50, (80, 2), (100, 3)),), "review", "3 rated"),
        ("prompts unlike 90 % of the reference", "drift", (cluster(1, 60, (80, 81)),), "prompt", "retrieval"),
        ("prompts unlike 90 % of the reference", "drift", (cluster(1, 60, (80, 40)),), "train", "less there"),
        ("prompts unlike 90 % of the reference", "drift", (cluster(20, 60, (80, 81)),), "none", "as before"),
        ("prompts unlike 90 % of the reference", "drift", (), "review", "0 rated"),
    ],
)
def test_the_advice_follows_from_groups_deployments_and_ratings(
    statistic: str,
    direction: Direction,
    clusters: tuple[Cluster, ...],
    cure: str,
    word: str,
) -> None:
    advice = advise(statistic, direction, clusters)
    assert (advice.cure, word in advice.sentence) == (cure, True), advice.sentence


@pytest.fixture(scope="module")
def unrated() -> tuple[Watched, e.DriftDetected]:
    state, (alarm, *_) = history(700, rated=0.0)
    assert isinstance(alarm, e.DriftDetected)
    return state, alarm


@pytest.mark.parametrize(
    ("detector", "statistic", "direction", "opens"),
    [
        ("output/seconds", "seconds above 1.2", "drop", False),
        ("slow/seconds", "seconds above 1.2 where language=de", "rise", False),
        ("slow/adwin", "seconds", "rise", False),
        ("broken/failed", "failed", "rise", False),
        ("output/cut", "cut", "drop", False),
        ("output/cut", "cut", "rise", True),
        ("long/words", "words", "drop", True),
    ],
)
def test_a_review_is_opened_where_judging_answers_tells_something(
    unrated: tuple[Watched, e.DriftDetected], detector: str, statistic: str, direction: Direction, opens: bool
) -> None:
    state, raised = unrated
    alarm = raised.model_copy(update={"detector": detector, "statistic": statistic, "direction": direction})
    told = assess(Pending(alarm=alarm, usual=(), sessions=0), state.recent, alarm, "test")
    assert [event.TYPE for event in told] == [e.DriftAssessed.TYPE, e.ReviewRequested.TYPE][: 1 + opens]


def test_another_version_forgets_the_sessions_of_the_one_before() -> None:
    state, _ = history(700, rated=0.0)
    assert 0 < len(state.recent) <= KEPT
    later = session(random.Random(2), 5000, 0, None).model_copy(update={"version": GRAPH, "revision": 2})
    assert len(POLICY.observed(state, later, "test").state.recent) == 1


def test_noisy_further_detectors_leave_the_places_of_pawls_own_alone(unrated: tuple[Watched, e.DriftDetected]) -> None:
    state, raised = unrated
    pending = awaiting((), raised, (), state.recent)
    for number in range(5):
        update = {"id": UUID(int=number), "detector": f"noisy{number}/adwin"}
        before, pending = pending, awaiting(pending, raised.model_copy(update=update), (), state.recent)
        told = displaced(before, pending, state.recent, raised, "test")
        assert [(each.TYPE, each.alarm) for each in told if isinstance(each, e.DriftAssessed)] == (
            [(e.DriftAssessed.TYPE, UUID(int=number - 3))] if number >= 3 else []
        )
        assert len(told) == (number >= 3)
    assert [each.alarm.id for each in pending] == [raised.id, *(UUID(int=number) for number in (2, 3, 4))]


def test_an_alarm_whose_version_ends_is_assessed_by_what_there_is() -> None:
    state, rng, found = Watched(model=MODEL), random.Random(1), list[e.Event]()
    for number in range(800):
        topic = 3 if number >= 700 else rng.randrange(3)
        seen = POLICY.observed(state, session(rng, number, topic, None), "test")
        state, found = seen.state, found + list(seen.events)
        if found:
            break
    (waiting,) = state.pending
    later = session(rng, 5000, 0, None).model_copy(update={"version": GRAPH, "revision": 2})
    seen = POLICY.observed(state, later, "test")
    (told,) = seen.events
    assert isinstance(told, e.DriftAssessed)
    assert (told.alarm, told.sessions, told.cause) == (found[0].id, waiting.sessions, later.id)
    assert seen.state.pending == ()


def test_where_few_sessions_come_an_alarm_is_assessed_after_a_day() -> None:
    state, found = Watched(model=MODEL), list[e.Event]()
    rng = random.Random(1)
    for number in range(760):
        seen = POLICY.observed(state, session(rng, number, 3 if number >= 700 else rng.randrange(3), None), "test")
        state, found = seen.state, found + list(seen.events)
    assert [event.TYPE for event in found] == [e.DriftDetected.TYPE]
    for hours, kinds in ((1, []), (24, [e.DriftAssessed.TYPE, e.ReviewRequested.TYPE]), (48, [])):
        time = found[0].time + timedelta(hours=hours)
        tick = e.Tick(id=uuid5(UUID(int=5), str(hours)), time=time, source="test", model=MODEL, number=hours)
        state, told = POLICY.assessed(state, tick, "test")
        assert [event.TYPE for event in told] == kinds
