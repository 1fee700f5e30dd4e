"""When to retrain: one frozen policy that always answers with all of its reasons, whichever way it decides."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from pawl_shared.model_policy import Triggers


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Usable(Frozen):
    """Feedback since the alarm's estimated start that a training run could use, by kind and split."""

    pairs: int = Field(default=0, ge=0, description="corrections and comparisons to train on")
    up: int = Field(default=0, ge=0, description="liked answers to train on")
    down: int = Field(default=0, ge=0, description="disliked answers to train on")
    heldout_pairs: int = Field(default=0, ge=0, description="corrections and comparisons to measure the candidate on")
    heldout_up: int = Field(default=0, ge=0, description="liked answers to measure the candidate on")
    heldout_down: int = Field(default=0, ge=0, description="disliked answers to measure the candidate on")

    @property
    def rows(self) -> int:
        """Everything that would be trained on."""
        return self.pairs + self.up + self.down


class Occasion(Frozen):
    """What asks for a run: an open alarm, or a person (then without an alarm)."""

    alarm: UUID | None
    since: datetime = Field(description="older feedback is left out of the snapshot")
    sentence: str
    cause: UUID | None = Field(default=None, description="the alarm or the person's command")
    time: datetime | None = Field(default=None, description="of that event")


class TriggerState(Frozen):
    """What the policy remembers of a model's loop."""

    occasion: Occasion | None = None
    run: UUID | None = Field(default=None, description="the run in progress")
    candidate: str | None = Field(default=None, description="the version on trial as a canary")
    ended: datetime | None = Field(default=None, description="when the last run ended")
    attempts: int = Field(default=0, description="runs asked for so far")
    rejections: int = Field(default=0, description="candidates refused or rolled back in a row")
    rejected_rows: int = Field(default=0, description="rows the last run was trained on")
    paused: str = Field(default="", description="who paused the loop and why; empty: it is not paused")


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
            self._feedback(usable),
            self._heldout(usable),
            self._idle(state),
            self._cool(state, now),
            self._fresh(state, usable),
            self._running(state),
        )
        return TriggerDecision(fire=all(reason.holds for reason in reasons), reasons=reasons)

    def due(self, state: TriggerState, now: datetime) -> bool:
        """Whether only the feedback itself remains to be weighed, so that counting it is worth a query."""
        return all(
            r.holds for r in (self._occasion(state), self._idle(state), self._cool(state, now), self._running(state))
        )

    def requested(self, state: TriggerState, run: UUID, rows: int) -> TriggerState:
        """A run was asked for."""
        update = {"run": run, "rejected_rows": rows, "attempts": state.attempts + 1}
        return state.model_copy(update=update)

    def failed(self, state: TriggerState, now: datetime) -> TriggerState:
        """Training ended without a candidate: the cooldown runs, more data is not asked for."""
        return state.model_copy(update={"run": None, "ended": now, "rejected_rows": 0, "occasion": _lasting(state)})

    def validated(self, state: TriggerState, candidate: str) -> TriggerState:
        """The candidate passed the gates and goes on trial."""
        return state.model_copy(update={"run": None, "candidate": candidate})

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

    def paused(self, state: TriggerState, why: str) -> TriggerState:
        """Somebody paused the loop, or resumed it (empty `why`), which also forgives the rejections so far."""
        return state.model_copy(update={"paused": why} if why else {"paused": "", "rejections": 0})

    @staticmethod
    def _occasion(state: TriggerState) -> Reason:
        if state.occasion is None:
            return Reason(name="occasion", holds=False, sentence="no alarm is open")
        return Reason(name="occasion", holds=True, sentence=state.occasion.sentence)

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
            return Reason(
                name="idle", holds=False, sentence=f"candidate {state.candidate[:12]} is on trial as a canary"
            )
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


def _lasting(state: TriggerState) -> Occasion | None:
    """An alarm goes on asking until it is answered; a person has asked for one run."""
    return state.occasion if state.occasion and state.occasion.alarm else None
