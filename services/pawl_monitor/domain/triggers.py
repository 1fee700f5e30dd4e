"""When to retrain: one frozen policy that always answers with all of its reasons, whichever way it decides."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from pawl_monitor.domain.trigger_state import Frozen, Occasion, PastRun, TriggerState, Usable
from pawl_shared.events import CandidateValidated, DeploymentChanged
from pawl_shared.policies.model_policy import Triggers

WEEK = timedelta(days=7)
# Counting feedback since the last run reads more of it than counting it since an alarm, and nothing is urgent.
PAIRS_WEIGHED_EVERY = timedelta(minutes=1)


class Reason(Frozen):
    """One condition: whether it holds, and a sentence with the numbers."""

    name: str
    holds: bool
    sentence: str


class TriggerDecision(Frozen):
    """fire, with every condition either way."""

    fire: bool
    reasons: tuple[Reason, ...]

    @property
    def sentence(self) -> str:
        """One line for people: what is missing, or why it fires."""
        missing = [r.sentence for r in self.reasons if not r.holds]
        if missing:
            return "not yet: " + "; ".join(missing)
        return "retrain: " + "; ".join(r.sentence for r in self.reasons)


class TriggerPolicy(Triggers):
    """Decides by what a model's policy says under `triggers`."""

    def decide(self, state: TriggerState, usable: Usable, now: datetime) -> TriggerDecision:
        """Whether to retrain now. Raises nothing; a state that makes no sense simply does not fire."""
        reasons = (
            self._occasion(state),
            *self._new_pairs(state, usable),
            self._feedback(usable),
            self._heldout(usable),
            self._idle(state),
            self._cool(state, now),
            self._budget(state, now),
            self._fresh(state, usable),
            self._running(state),
        )
        return TriggerDecision(fire=all(reason.holds for reason in reasons), reasons=reasons)

    def due(self, state: TriggerState, now: datetime) -> bool:
        """Whether only the feedback itself remains to be weighed, so that counting it is worth a query."""
        return all(reason.holds for reason in self.standing(state, now))

    def standing(self, state: TriggerState, now: datetime) -> tuple[Reason, ...]:
        """The conditions that need no look at the feedback."""
        return (
            self._occasion(state),
            self._idle(state),
            self._cool(state, now),
            self._budget(state, now),
            self._running(state),
        )

    def patience(self, state: TriggerState) -> timedelta:
        """How long to wait between two counts of the feedback."""
        pairs = state.occasion is not None and state.occasion.kind == "pairs"
        return max(self.weigh_every, PAIRS_WEIGHED_EVERY) if pairs else self.weigh_every

    def ticked(self, state: TriggerState, now: datetime, cause: UUID) -> TriggerState:
        """Time has passed: what the schedule and new feedback ask for. An alarm and a person go first."""
        update: dict[str, object] = {"runs": tuple(run for run in state.runs if now - run.requested < WEEK)}
        since = state.requested or state.began or now
        if state.began is None:
            update["began"] = now
        if state.occasion is None or state.occasion.kind in ("schedule", "pairs"):
            update["occasion"] = self._routine(state.occasion, since, now, cause)
        return state.model_copy(update=update)

    def _routine(self, open_: Occasion | None, since: datetime, now: datetime, cause: UUID) -> Occasion | None:
        if self.every is not None and now - since >= self.every:
            if open_ is not None and open_.kind == "schedule":
                return open_
            sentence = f"a run is due every {self.every}; the last was at {since:%Y-%m-%d %H:%M:%S} UTC"
            first = now - max(self.every, WEEK)
            return Occasion(kind="schedule", alarm=None, since=first, sentence=sentence, cause=cause, time=now)
        if self.new_pairs is not None:
            if open_ is not None and (open_.kind, open_.since) == ("pairs", since):
                return open_
            sentence = f"{self.new_pairs} new corrections or comparisons ask for a run"
            return Occasion(kind="pairs", alarm=None, since=since, sentence=sentence, cause=cause, time=now)
        return None

    def requested(self, state: TriggerState, run: UUID, rows: int, now: datetime) -> TriggerState:
        """A run was asked for. The next one is by another recipe only when a person asks again."""
        update = {
            "occasion": state.occasion and state.occasion.model_copy(update={"recipe": "auto"}),
            "run": run,
            "rejected_rows": rows,
            "attempts": state.attempts + 1,
            "requested": now,
            "runs": (*state.runs, PastRun(run=run, requested=now)),
        }
        return state.model_copy(update=update)

    def started(self, state: TriggerState, run: UUID, device: str, now: datetime) -> TriggerState:
        """A run began to train."""
        return _of_run(state, run, started=now, device=device)

    def trained(self, state: TriggerState, run: UUID, now: datetime) -> TriggerState:
        """A run has ended, or failed: its time is known."""
        began = next((past.started for past in state.runs if past.run == run), None)
        return state if began is None else _of_run(state, run, seconds=(now - began).total_seconds())

    def failed(self, state: TriggerState, now: datetime) -> TriggerState:
        """Training ended without a candidate: the cooldown runs, more data is not asked for."""
        return state.model_copy(update={"run": None, "ended": now, "rejected_rows": 0, "occasion": _lasting(state)})

    def deployed(self, state: TriggerState, event: DeploymentChanged, now: datetime) -> TriggerState:
        """A deployment changed: how far the candidate has come, and whether the loop is paused."""
        match event.change:
            case "canary" | "step" if event.challenger is not None:
                return self.validated(state, event.challenger.version, waits=False)
            case "promoted" | "pinned" if state.candidate == event.champion.version:
                return self.promoted(state, now)
            case "pinned" | "registered" if state.candidate is not None:
                return self.withdrawn(state, now)
            # A person changed the champion: what waits in the queue is measured beside the new one, and waits on.
            case "promoted" if state.candidate is not None and not state.waits:
                return self.withdrawn(state, now)
            case "rolled-back" if state.candidate is not None and not state.waits:
                return self.rejected(state, now)
            case "paused":
                return self.paused(state, "; ".join(event.reasons) or f"{event.who} paused the loop")
            case "resumed":
                return self.paused(state, "")
            case _:
                return state

    def validated(self, state: TriggerState, candidate: str, *, waits: bool) -> TriggerState:
        """The candidate passed the gates: it waits for its canary, or is on trial."""
        return state.model_copy(update={"run": None, "candidate": candidate, "waits": waits})

    def measured(self, state: TriggerState, event: CandidateValidated) -> TriggerState:
        """The gates let a candidate pass: that of the run in progress, or again one that a pin took from sight."""
        lost = state.run is None and state.candidate is None and any(past.run == event.run for past in state.runs)
        return self.validated(state, event.adapter, waits=True) if state.run == event.run or lost else state

    def rejected(self, state: TriggerState, now: datetime) -> TriggerState:
        """A gate or live evidence refused the candidate. After `max_rejections` in a row the loop pauses itself."""
        count = state.rejections + 1
        pause = f"{count} candidates in a row were refused; look at their gates, then resume the loop"
        update: dict[str, object] = {
            "run": None,
            "candidate": None,
            "ended": now,
            "rejections": count,
            "occasion": _lasting(state),
        }
        if count >= self.max_rejections and not state.paused:
            update["paused"] = pause
        return state.model_copy(update=update)

    def promoted(self, state: TriggerState, now: datetime) -> TriggerState:
        """The candidate became champion: the alarm that it answers no longer asks for a run."""
        update = {"run": None, "candidate": None, "ended": now, "rejections": 0, "rejected_rows": 0, "occasion": None}
        return state.model_copy(update=update)

    def withdrawn(self, state: TriggerState, now: datetime) -> TriggerState:
        """The candidate was taken off its trial, and nothing was found against it."""
        return state.model_copy(update={"candidate": None, "ended": now, "occasion": _lasting(state)})

    def paused(self, state: TriggerState, why: str) -> TriggerState:
        """Somebody paused the loop, or resumed it (empty `why`), which also forgives the rejections so far."""
        return state.model_copy(update={"paused": why} if why else {"paused": "", "rejections": 0})

    def _occasion(self, state: TriggerState) -> Reason:
        if state.occasion is not None:
            return Reason(name="occasion", holds=True, sentence=state.occasion.sentence)
        sentence = "no alarm is open"
        since = state.requested or state.began
        if self.every is not None and since is not None:
            sentence += f"; a run is due at {since + self.every:%Y-%m-%d %H:%M:%S} UTC"
        return Reason(name="occasion", holds=False, sentence=sentence)

    def _new_pairs(self, state: TriggerState, usable: Usable) -> tuple[Reason, ...]:
        if state.occasion is None or state.occasion.kind != "pairs" or self.new_pairs is None:
            return ()
        have, since = usable.pairs, state.occasion.since
        sentence = f"{have} of {self.new_pairs} new corrections or comparisons since {since:%Y-%m-%d %H:%M:%S} UTC"
        return (Reason(name="new_pairs", holds=have >= self.new_pairs, sentence=sentence),)

    def _budget(self, state: TriggerState, now: datetime) -> Reason:
        recent = [run for run in state.runs if now - run.requested < WEEK]
        runs, most = len(recent), self.budget.runs_per_week
        seconds = sum(run.seconds for run in recent if run.device.startswith("cuda"))
        holds, said = True, []
        if most is not None:
            holds, said = runs < most, [f"{runs} of {most} runs in the last 7 days"]
        if (limit := self.budget.gpu_seconds_per_week) is not None:
            holds = holds and seconds < limit
            said.append(f"{seconds:.0f} of {limit:.0f} GPU seconds in the last 7 days")
        return Reason(name="budget", holds=holds, sentence="; ".join(said) or "no budget is set")

    def _feedback(self, usable: Usable) -> Reason:
        if usable.pairs >= self.min_pairs:
            sentence = f"{usable.pairs} corrections or comparisons, {self.min_pairs} needed"
            return Reason(name="feedback", holds=True, sentence=sentence)
        if usable.up >= self.min_up and usable.down >= self.min_down:
            sentence = f"{usable.up} liked and {usable.down} disliked answers, {self.min_up} and {self.min_down} needed"
            return Reason(name="feedback", holds=True, sentence=sentence)
        sentence = (
            f"{usable.pairs} of {self.min_pairs} corrections or comparisons, and "
            f"{usable.up} of {self.min_up} liked with {usable.down} of {self.min_down} disliked answers"
        )
        return Reason(name="feedback", holds=False, sentence=sentence)

    def _heldout(self, usable: Usable) -> Reason:
        pairs, each = self.min_heldout_pairs, self.min_heldout_each
        if usable.heldout_pairs >= pairs:
            sentence = f"{usable.heldout_pairs} corrections or comparisons held out to measure on, {pairs} needed"
            return Reason(name="heldout", holds=True, sentence=sentence)
        liked, disliked = usable.heldout_up, usable.heldout_down
        sentence = f"held out to measure on: {liked} liked and {disliked} disliked answers of {each} each"
        if min(liked, disliked) >= each:
            return Reason(name="heldout", holds=True, sentence=sentence)
        sentence += f", and {usable.heldout_pairs} of {pairs} corrections or comparisons"
        return Reason(name="heldout", holds=False, sentence=sentence)

    @staticmethod
    def _idle(state: TriggerState) -> Reason:
        if state.run is not None:
            return Reason(name="idle", holds=False, sentence="a training run is in progress")
        if state.candidate is not None:
            where = "waits for its canary" if state.waits else "is on trial as a canary"
            return Reason(name="idle", holds=False, sentence=f"candidate {state.candidate[:12]} {where}")
        return Reason(name="idle", holds=True, sentence="nothing is in progress")

    def _cool(self, state: TriggerState, now: datetime) -> Reason:
        left = timedelta() if state.ended is None else state.ended + self.cooldown - now
        if left <= timedelta():
            return Reason(name="cooldown", holds=True, sentence="the cooldown is over")
        return Reason(name="cooldown", holds=False, sentence=f"{left.total_seconds():.0f} s of the cooldown are left")

    def _fresh(self, state: TriggerState, usable: Usable) -> Reason:
        if not state.rejections or not state.rejected_rows:
            return Reason(name="fresh", holds=True, sentence="the last candidate was not refused")
        need = int(state.rejected_rows * self.more_data)
        sentence = f"{usable.rows} of {need} rows, as the last candidate was refused on {state.rejected_rows}"
        return Reason(name="fresh", holds=usable.rows >= need, sentence=sentence)

    @staticmethod
    def _running(state: TriggerState) -> Reason:
        return Reason(name="running", holds=not state.paused, sentence=state.paused or "the loop is not paused")


def _of_run(state: TriggerState, run: UUID, **update: object) -> TriggerState:
    runs = tuple(past.model_copy(update=update) if past.run == run else past for past in state.runs)
    return state.model_copy(update={"runs": runs})


def _lasting(state: TriggerState) -> Occasion | None:
    """An alarm goes on asking until it is answered; a person has asked for one run."""
    return state.occasion if state.occasion and state.occasion.alarm else None
