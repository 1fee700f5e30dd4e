"""What people are told about an event: one or a few sentences, with the reason in it. Pure."""

from dataclasses import dataclass

from pawl_shared import events as e


@dataclass(frozen=True)
class Line:
    """One line of the story; `mood` is good, bad, or plain."""

    who: str
    text: str
    mood: str = "plain"


def short(digest: object) -> str:
    """The first 12 hex digits: how versions are shown."""
    return str(digest)[:12]


def tell(event: e.Event) -> list[Line]:
    """The lines of one event; none for those that only move a progress bar."""
    match event:
        case e.DriftDetected():
            return _drift(event)
        case e.DriftResolved():
            return [Line("monitor", f"The alarm is closed: {event.sentence}", "good")]
        case e.DriftAssessed():
            return [Line("monitor", event.advice.sentence)]
        case e.ReviewRequested():
            return [Line("monitor", event.sentence)]
        case e.RetrainRequested():
            return _request(event)
        case e.TrainingStarted():
            return [Line("trainer", f"Training begins on {event.device}.")]
        case e.TrainingFailed():
            return [Line("trainer", f"Training failed: {event.reason} {event.advice}".strip(), "bad")]
        case e.AdapterTrained():
            return _trained(event)
        case e.CandidateValidated():
            head = Line("validator", f"Candidate {short(event.adapter)} passed every gate.", "good")
            return [head, *[_gate(gate) for gate in event.gates]]
        case e.CandidateRejected():
            head = Line("validator", f"Candidate {short(event.adapter)} is rejected: {'; '.join(event.reasons)}", "bad")
            return [head, *[_gate(gate) for gate in event.gates]]
        case e.DeploymentChanged():
            return _deployment(event)
        case e.ApprovalChanged():
            return [_approval(event)]
        case e.ConfigureModelCommand():
            why = f": {event.why}" if event.why else "."
            return [Line(event.who, f"Policy {short(event.digest)} is valid from now on{why}")]
        case _:
            return []


def _approval(event: e.ApprovalChanged) -> Line:
    because = "; ".join(event.reasons)
    if event.state == "requested":
        return Line("validator", f"{short(event.version)} waits for approval of its {event.step}: {because}.")
    mood = {"approved": "good", "rejected": "bad"}.get(event.state, "plain")
    return Line(event.who, f"The {event.step} of {short(event.version)} is {event.state}: {because}", mood)


def _drift(event: e.DriftDetected) -> list[Line]:
    ratio = f"evidence {event.evidence:.3g} against a threshold of {event.threshold:.3g}"
    head = Line("monitor", f"{event.sentence} (Detector {event.detector}: {ratio}.)", "bad" if event.fell else "plain")
    return [head] + ([Line("monitor", event.advice.sentence)] if event.advice else [])


def _request(event: e.RetrainRequested) -> list[Line]:
    counts = ", ".join(f"{name} {count}" for name, count in sorted(event.counts.items()))
    lines = [Line("monitor", f"Froze dataset {short(event.dataset)} ({counts}) and asked for a new adapter.", "good")]
    return lines + [Line("monitor", f"because {reason}") for reason in event.reasons]


def _trained(event: e.AdapterTrained) -> list[Line]:
    lines = [
        Line("trainer", f"Adapter {short(event.adapter)} trained by {event.recipe} in {event.seconds:.0f} s.", "good")
    ]
    return lines + [Line("trainer", f"because {reason}") for reason in event.reasons]


def _gate(gate: e.GateResult) -> Line:
    return Line(
        "validator", f"{'✓' if gate.passed else '✗'} {gate.gate}: {gate.sentence}", "plain" if gate.passed else "bad"
    )


def _deployment(event: e.DeploymentChanged) -> list[Line]:
    challenger = short(event.challenger.version) if event.challenger else ""
    text, mood = {
        "registered": (f"Serving begins with {short(event.champion.version)}.", "plain"),
        "canary": (f"Canary: {challenger} answers {event.share:.0%} of the sessions.", "plain"),
        "step": (f"The canary's share is now {event.share:.0%}.", "plain"),
        "promoted": (f"Promoted: {short(event.champion.version)} answers everybody.", "good"),
        "rolled-back": (f"Rolled back to {short(event.champion.version)}.", "bad"),
        "paused": ("The loop is paused.", "plain"),
        "resumed": ("The loop goes on.", "plain"),
        "pinned": (f"Pinned: {short(event.champion.version)} answers everybody until it is unpinned.", "plain"),
        "unpinned": ("Canaries and promotions go on.", "plain"),
        "experiment": ("An experiment begins.", "plain"),
        "experiment-over": ("The experiment is over: `pawl experiment status` shows what was seen.", "plain"),
    }[event.change]
    return [Line("validator", text, mood), *[Line("validator", f"because {reason}") for reason in event.reasons]]


def live_words(event: e.VersionObserved) -> str:
    """How a version does, in a line."""
    rate, share = event.approval, event.rated_share
    approval = f"approval {rate.point:.0%} ({rate.low:.0%} to {rate.high:.0%})" if rate.n else "nobody rated"
    rated = f", {share.point:.0%} of {event.sessions:,} sessions rated" if share else ""
    times = "p50 {p50:.2f} s, p95 {p95:.2f} s".format(**event.seconds) if {"p50", "p95"} <= event.seconds.keys() else ""
    return f"{short(event.version)}  {approval}{rated}" + (f", {times}" if times else "")


def canary_words(event: e.CanaryObserved) -> str:
    """Where the canary stands, in one line."""
    return (
        f"champion {event.champion.point:.0%} of {event.champion.n}, challenger {event.challenger.point:.0%} "
        f"of {event.challenger.n}, evidence {event.promote_evidence:.3g} of {event.promote_threshold:.3g}"
    )
