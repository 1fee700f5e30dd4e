"""What must hold at the end of every history, read from the log and the store alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar
from uuid import UUID

from benchmarks.simulated.services import monitor_folds, validator_folds
from benchmarks.simulated.streams import REWARDS
from benchmarks.simulated.world import World

from pawl_monitor.replay import Requests
from pawl_shared import events as e
from pawl_shared.codec import decode
from pawl_shared.running.comparison import compare
from pawl_shared.running.rebuild import Plan, logged, rebuild
from pawl_shared.running.runner import Pace
from pawl_shared.topics import BY_NAME, TOPICS
from pawl_streams.feedback_join import answer_key, slot_of
from pawl_streams.scoring import reward, score

T = TypeVar("T", bound=e.Event)
EXPECTED_LETTERS = "RefusedError"  # a person asked for what cannot be done at the moment
DECIDED: dict[str, tuple[type[e.Event], ...]] = {
    "monitor": (e.SessionObserved, e.DriftDetected, e.DriftResolved, e.VersionObserved),
    "validator": (e.DeploymentChanged, e.StageChanged, e.ApprovalChanged, e.CanaryObserved),
}


def broken(world: World) -> list[str]:
    """A sentence for each invariant that does not hold."""
    log = Log(world)
    return [
        *world.bugs,
        *kept(world, log),
        *observed(world, log),
        *caused(log),
        *ordered(log),
        *concluded(log),
        *finished(log),
        *replayed(world),
    ]


class Log:
    """Everything on the bus by type, the first copy of each event, in the order of its partition."""

    def __init__(self, world: World) -> None:
        self.copies: dict[UUID, list[e.Event]] = defaultdict(list)
        for topic in TOPICS:
            if topic.internal:
                continue
            for record in world.bus.read(topic.name):
                if record is not None:
                    event = decode(record)
                    self.copies[event.id].append(event)

    def of(self, kind: type[T]) -> list[T]:
        """First copies of this type."""
        return [copies[0] for copies in self.copies.values() if isinstance(copies[0], kind)]


def kept(world: World, log: Log) -> Iterator[str]:
    """Nothing that was acknowledged is lost, nothing is doubled."""
    identity = {"feedback": "feedback_id", "answers": "inference_id"}
    rows = [(row.table, str(row.by_name[identity.get(row.table, "event_id")])) for row in world.database.rows]
    count = Counter(rows)
    for event in world.edge.acknowledged:
        answered = isinstance(event, e.InferenceLogged)
        place = ("answers", str(event.inference_id)) if answered else ("feedback", str(event.id))
        if count[place] != 1:
            yield f"{place[0]} {place[1]} was acknowledged once and is stored {count[place]} times"
    yield from (f"row {place} is there {times} times" for place, times in count.items() if times > 1)
    for letter in log.of(e.DeadLetter):
        if EXPECTED_LETTERS not in letter.reason:
            yield f"{letter.service} could not handle {letter.topic}/{letter.offset}: {letter.reason}"
    yield from joined(world, log)


def joined(world: World, log: Log) -> Iterator[str]:
    """The last revision of every answer says what a computation over all feedback at once says."""
    last: dict[UUID, e.InteractionScored] = {}
    for revision in log.of(e.InteractionScored):
        known = last.get(revision.inference_id)
        if known is None or revision.revision > known.revision:
            last[revision.inference_id] = revision
    for answer, wanted in rewards(world.edge.acknowledged).items():
        found = last.get(answer)
        if found is None or not found.joined or found.reward != wanted:
            yield f"answer {answer} ends with reward {found and found.reward} instead of {wanted}"


def rewards(acknowledged: Iterable[e.InferenceLogged | e.FeedbackReceived]) -> dict[UUID, float | None]:
    """What every answer is worth, by all that was said of it and of its session."""
    policy, answers = REWARDS, defaultdict[str, list[e.InferenceLogged]](list)
    said: dict[str, dict[str, e.FeedbackReceived]] = defaultdict(dict)
    for event in sorted(acknowledged, key=lambda event: (event.time, str(event.id))):
        if isinstance(event, e.InferenceLogged):
            answers[event.session].append(event)
        else:  # the later one replaces the earlier one
            said[event.session if event.kind == "outcome" else str(event.inference_id)][slot_of(event)] = event
    found: dict[UUID, float | None] = {}
    for session, given in answers.items():
        newest = sorted(given, key=lambda answer: (answer.time, answer_key(answer)), reverse=True)
        for place, answer in enumerate(newest):
            scores = [*_scores(said[str(answer.inference_id)], 1.0), *_scores(said[session], policy.discount**place)]
            found[answer.inference_id], _ = reward([score for score in scores if score[2]], policy)
    return found


def _scores(latest: Mapping[str, e.FeedbackReceived], share: float) -> Iterator[tuple[str, float, float]]:
    for slot, statement in latest.items():
        if (value := score(statement, REWARDS)) is not None:
            yield slot, value, share


def observed(world: World, log: Log) -> Iterator[str]:
    """Every session is evidence, once, and says nothing else in another copy."""
    sessions = Counter(event.session for event in log.of(e.SessionObserved))
    for session in {event.session for event in world.edge.acknowledged if isinstance(event, e.InferenceLogged)}:
        if sessions[session] != 1:
            yield f"{session} is evidence {sessions[session]} times"
    for identity, copies in log.copies.items():
        if len({copy.model_dump_json() for copy in copies}) > 1 and isinstance(
            copies[0], e.SessionObserved | e.DriftDetected | e.DriftResolved | e.DeploymentChanged | e.StageChanged
        ):
            yield f"{copies[0].TYPE} {identity} has copies that differ"
    for request in log.of(e.RetrainRequested):
        if len({copy.time for copy in log.copies[request.id]}) > 1:
            yield f"request {request.id} has copies of different times, which readers take for different events"


def caused(log: Log) -> Iterator[str]:
    """No decision without its cause."""
    inferences = {event.inference_id for event in log.of(e.InferenceLogged)}
    for copies in log.copies.values():
        event = copies[0]
        topic = next(t.name for t in BY_NAME.values() if type(event) in t.events)
        if event.cause is not None and event.cause not in log.copies and event.cause not in inferences:
            yield f"{event.TYPE} {event.id} on {topic} names cause {event.cause}, which does not exist"
    validated = {event.adapter for event in log.of(e.CandidateValidated)}
    for change in log.of(e.DeploymentChanged):
        if change.challenger is not None and change.challenger.version not in validated:
            yield f"revision {change.revision} tries {change.challenger.version[:12]}, which no gate has passed"
        if change.champion.slot_file is not None and change.champion.version not in validated:
            yield f"revision {change.revision} serves {change.champion.version[:12]}, which no gate has passed"


def ordered(log: Log) -> Iterator[str]:
    """Revisions rise by one."""
    revisions = [change.revision for change in log.of(e.DeploymentChanged)]
    if revisions != list(range(1, len(revisions) + 1)):
        yield f"deployments have the revisions {revisions}"


def concluded(log: Log) -> Iterator[str]:
    """Of a paused model, only a person promotes; what was earned meanwhile is not forgotten when the loop goes on."""
    changes, paused = log.of(e.DeploymentChanged), False
    for change in changes:
        paused = change.change == "paused" or (paused and change.change != "resumed")
        if paused and change.change == "promoted" and change.who == "pawl":
            yield f"revision {change.revision} is a promotion while the loop was paused"
    for seen in log.of(e.CanaryObserved):
        earned = seen.promote_evidence >= seen.promote_threshold
        if earned and not paused and changes[-1].canary == seen.canary:
            yield f"canary {seen.canary} has earned a promotion, which never came"


def finished(log: Log) -> Iterator[str]:
    """Whatever was begun has ended: runs, and verdicts about what they made."""
    ended = {event.run for event in log.of(e.AdapterTrained)} | {event.run for event in log.of(e.TrainingFailed)}
    yield from (f"run {r.id} never ended" for r in log.of(e.RetrainRequested) if r.id not in ended)
    judged = {event.run for event in log.of(e.CandidateValidated)}
    judged |= {event.run for event in log.of(e.CandidateRejected)}
    yield from (f"adapter of run {t.run} was never judged" for t in log.of(e.AdapterTrained) if t.run not in judged)


def replayed(world: World) -> Iterator[str]:
    """Every decision comes out the same from the log alone."""
    pace = Pace(poll=0, sleep=world.clock.advance)
    for service, folds in (("monitor", monitor_folds()), ("validator", validator_folds())):
        plan = Plan(service, folds, DECIDED[service])
        asked = logged(world.bus, (e.RetrainRequested,)) if service == "monitor" else {}
        requests = Requests(asked.values(), world.feedback)
        rebuilt = rebuild(world.bus, plan, requests.owed, pace=pace)
        found, also = compare(rebuilt, logged(world.bus, plan.decided)), requests.compare()
        for each in (*found.differences, *also.differences):
            yield f"replay of the {service}: {each.kind} {each.id}: {each.what} {each.fields}"
        yield from (f"replay of the {service}: {note}" for note in also.notes)
