"""One run of the demo: a crowd on a running stack, watched from the topics, until it has seen enough."""

import queue
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pawl_cli.demo import phases
from pawl_cli.demo.crowd_process import CrowdProcess, visit_of
from pawl_cli.demo.measure import Visit, approval
from pawl_cli.demo.phases import Fact, Plan, Rated, Ready, State
from pawl_cli.demo.report import Result, judge, measure
from pawl_cli.log import lineage
from pawl_cli.log.follow import Follower
from pawl_cli.log.story import canary_words, tell
from pawl_cli.monitor_client import MonitorClient
from pawl_cli.running.memory import MemoryPeak
from pawl_cli.running.stack import Stack, settings_of
from pawl_cli.terminal import Terminal
from pawl_shared import events as e
from pawl_shared.artifacts import ArtifactStore
from pawl_shared.errors import PawlError
from pawl_shared.topics import CANDIDATES, DEPLOYMENTS, DRIFT, MODELS, TRAINING

WATCHED = (DRIFT, TRAINING, CANDIDATES, MODELS, DEPLOYMENTS)
TITLES = {
    "before": "the crowd likes the model",
    "detect": "the crowd's taste has changed; nobody told the model",
    "collect": "feedback is collected",
    "train": "training",
    "validate": "the candidate is examined",
    "canary": "canary on live traffic",
    "after": "measured on unseen people and prompts",
}
TROUBLES_TOLD = 5


@dataclass(frozen=True)
class DemoOptions:
    """What a run is told."""

    plan: Plan
    seed: int
    time_limit: float  # seconds, from the crowd's arrival
    log: Path  # the crowd's own log


class DemoError(PawlError):
    """The run could not go on."""


class Demo:
    """Feeds facts from the crowd and from the topics to the phases, and orders from them to the crowd."""

    def __init__(self, stack: Stack, terminal: Terminal, options: DemoOptions, state: State) -> None:
        self.state = state
        self.visits: list[Visit] = []
        self.base = ""
        self.adapter: str | None = None
        self.last_answer: str | None = None
        self.out_of_time = False
        self._stack, self._terminal, self._options = stack, terminal, options
        self._words = ""
        self._fraction: float | None = None
        self._troubles = 0

    def run(self) -> None:
        """Until the phases say that it is finished, or the time is over. Raises DemoError when the crowd is gone."""
        options = self._options
        follower = Follower(self._stack.bus, WATCHED)
        stack = self._stack
        crowd = CrowdProcess(stack.urls["inference"], stack.options.model, options.seed, options.log, stack.key)
        try:
            self._loop(follower, crowd, time.time() + options.time_limit)
        finally:
            crowd.stop()
            follower.stop()

    def _loop(self, follower: Follower, crowd: CrowdProcess, deadline: float) -> None:
        self._take(Ready(), crowd)
        while not self.state.finished:
            for event in drain(follower.events):
                self._event(event, crowd)
            for line in drain(crowd.lines):
                self._crowd_line(line, crowd)
            for happening in self._stack.poll():
                self._terminal.line(happening.unit, happening.text, "bad")
            if not crowd.running():
                raise DemoError(f"the crowd ended by itself; its log is {self._options.log}")
            if time.time() > deadline:
                self.out_of_time = True
                return
            self._show()
            time.sleep(0.1)

    def _take(self, fact: Fact, crowd: CrowdProcess) -> None:
        before = self.state
        self.state, orders = phases.step(self._options.plan, before, time.time(), fact)
        if self.state.phase != before.phase:
            self._words, self._fraction = "", None
        for order in orders:
            crowd.order(**order)
        if before.shifted is None and self.state.shifted is not None:
            self._terminal.line("crowd", SHIFTS[self._options.plan.kind], "bad")

    def _event(self, event: e.Event, crowd: CrowdProcess) -> None:
        if getattr(event, "model", None) != self._stack.options.model:
            return
        for line in tell(event):
            self._terminal.line(line.who, line.text, line.mood)
        if isinstance(event, e.DeploymentChanged):
            self.base = self.base or event.champion.base
            if event.change == "promoted":
                self.adapter = event.champion.version
        elif isinstance(event, e.TrainingProgressed):
            self._fraction = event.fraction
            left = f", {event.eta_seconds:.0f} s left" if event.eta_seconds else ""
            self._words = f"{event.phase} {event.step}/{event.total}{left}"
        elif isinstance(event, e.CanaryObserved) and self.state.phase == "canary":
            self._words = canary_words(event)
        self._take(event, crowd)

    def _crowd_line(self, line: dict[str, Any], crowd: CrowdProcess) -> None:
        if line["event"] == "trouble":
            self._troubles += 1
            if self._troubles <= TROUBLES_TOLD:
                self._terminal.line("crowd", f"a visitor had trouble: {line['text']}", "bad")
            return
        if line["event"] != "visit":
            return
        visit = visit_of(line)
        self.visits.append(visit)
        if visit.versions == {self.adapter}:
            self.last_answer = line["answers"][0]["inference_id"]
        # visitors who came before the last change of audience do not count towards its measurement
        if visit.approval is not None and (self.state.phase != "after" or visit.audience == "unseen"):
            self._take(Rated(visit.audience), crowd)

    def _show(self) -> None:
        plan, state = self._options.plan, self.state
        goal = {"before": plan.before if plan.kind != "no-shift" else plan.control, "after": plan.after}
        fraction = state.rated / goal[state.phase] if state.phase in goal else self._fraction
        recent = [visit for visit in self.visits[-120:] if visit.ended >= state.since]
        now = approval(recent)
        liked = f"approval {now.point:.0%} of the last {now.sessions}" if now.sessions else ""
        words = ", ".join(filter(None, (self._words, f"{state.rated} rated sessions", liked)))
        self._terminal.step(TITLES[state.phase], fraction, words)


SHIFTS = {
    "shift": "The crowd's taste changes: it wants short answers now. From here on nothing is scripted.",
    "bad-data": "The crowd's thumbs are random from now on. From here on nothing is scripted.",
}


def drain(source: "queue.SimpleQueue[Any]") -> list[Any]:
    """Everything that is in the queue now."""
    found = []
    while True:
        try:
            found.append(source.get_nowait())
        except queue.Empty:
            return found


def conclude(demo: Demo, options: DemoOptions, stack: Stack, memory: MemoryPeak) -> Result:
    """The result of a run that has ended; services must still run, to explain an answer."""
    state = phases.close(demo.state, time.time())
    measured = measure(state, demo.visits, demo.adapter)
    outcome = judge(options.plan, state, measured)
    return Result(
        plan=options.plan,
        seed=options.seed,
        state=state,
        measured=measured,
        outcome=outcome,
        memory_peak_bytes=memory.stop(),
        base=demo.base,
        urls=stack.urls,
        folders={"data": str(stack.options.data), "artifacts": settings_of(stack.options.data).artifacts},
        explained=explained(demo, stack),
    )


def explained(demo: Demo, stack: Stack) -> list[str]:
    """The lineage of the last answer of the promoted version, in sentences."""
    if demo.last_answer is None:
        return []
    settings = settings_of(stack.options.data)
    artifacts = ArtifactStore(settings.artifacts, settings.artifact_cache)
    monitor = MonitorClient(stack.urls["monitor"], stack.key)
    deadline = time.monotonic() + 15  # the answer is seconds old; the monitor may not have it yet
    while True:
        try:
            return lineage.lines(lineage.explain(demo.last_answer, monitor, stack.bus, artifacts))
        except PawlError as error:
            if time.monotonic() > deadline:
                return [f"The answer {demo.last_answer} could not be explained: {error}"]
            time.sleep(0.5)
