"""`pawl status`: where the loop stands, from the topics and the monitor."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.console import Console

from pawl_cli.commands.cluster import bus_of
from pawl_cli.commands.common import DEFAULT_DATA, AsJson, Data, print_json, running, told
from pawl_cli.commands.monitor import monitor_of
from pawl_cli.log.follow import Seen, history
from pawl_cli.log.story import canary_words, live_words, short, tell
from pawl_cli.monitor_client import MonitorClient, MonitorError
from pawl_cli.running.note import RunningNote
from pawl_shared import events as e
from pawl_shared.buses.port import Bus
from pawl_shared.errors import PawlError
from pawl_shared.topics import CANDIDATES, COMMANDS, DEPLOYMENTS, DRIFT, MODELS, TRAINING

RECENT = 6
WATCHED = (DRIFT, TRAINING, CANDIDATES, MODELS, DEPLOYMENTS, COMMANDS)


Which = Annotated[str, typer.Option("--model", help="One model only, tenant/name; by default all.")]


def status(data: Data = DEFAULT_DATA, model: Which = "", json: AsJson = False) -> None:
    """Show what is deployed, whether an alarm is open, what is being trained or tried, and what the loop waits for.

    As JSON, a list with one entry a model.

    Example:  pawl status --data ./pawl-data
    """
    with told():
        note = running(data)
        by_model = read(bus_of(note), model)
        monitor = monitor_of(note, data)
        found = [state(name, seen, note, monitor) for name, seen in by_model.items()]
        if json:
            print_json(found)
            return
        console = Console(highlight=False)
        for name, url in note.urls.items():
            console.print(f"{name:<10} {url}")
        for each, seen in zip(found, by_model.values(), strict=True):
            console.print()
            show(each, seen)


def state(model: str, seen: Sequence[Seen], note: RunningNote, monitor: MonitorClient) -> dict[str, Any]:
    """Where one model stands, as plain values."""
    found: dict[str, Any] = {
        "model": model,
        "urls": note.urls | {"monitor": monitor.url},
        **summary([each.event for each in seen]),
    }
    found["reviews"] = reviews(monitor, model, found["deployment"])
    try:
        return found | {"trigger": monitor.trigger(model)}
    except MonitorError as error:
        return found | {"trigger": {"sentence": str(error), "reasons": []}}


def read(bus: Bus, model: str = "") -> dict[str, list[Seen]]:
    """The control events of each model (or of this one), in time order. Raises PawlError when there are none."""
    found: dict[str, list[Seen]] = {}
    for each in history(bus, WATCHED):
        name = getattr(each.event, "model", "")
        if name and name == (model or name):
            found.setdefault(name, []).append(each)
    if not found:
        which = f" of the model {model!r}: name it with --model" if model else ""
        raise PawlError(f"nothing is known{which}; the first start takes a minute")
    return dict(sorted(found.items()))


def reviews(monitor: MonitorClient, model: str, deployment: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Reviews of the champion's answers that people are not through with; none where the monitor does not answer."""
    try:
        found = monitor.reviews(model)
    except MonitorError:
        return []
    champion = deployment and deployment["champion"]["version"]
    return [each for each in found if each["version"] == champion and each["reviewed"] < each["items"]]


def advice_of(events: Sequence[e.Event], alarm: e.DriftDetected | None) -> e.Advice | None:
    """The latest word on an alarm's cure."""
    assessed = [each for each in events if isinstance(each, e.DriftAssessed) and alarm and each.alarm == alarm.id]
    return assessed[-1].advice if assessed else alarm.advice if alarm else None


def summary(events: Sequence[e.Event]) -> dict[str, Any]:
    """The latest event of each kind that matters, as plain values; None where there was none, or it is over."""
    deployment = _last(events, e.DeploymentChanged)
    alarm = _last([each for each in events if isinstance(each, e.DriftDetected) and each.fell], e.DriftDetected)
    resolved = _last(events, e.DriftResolved)
    alarm = None if alarm and resolved and resolved.alarm == alarm.id else alarm
    advice, news = advice_of(events, alarm), _news(events, deployment)
    request = _last(events, e.RetrainRequested)
    over = {event.run for event in events if isinstance(event, e.AdapterTrained | e.TrainingFailed)}
    canary, policy = _last(events, e.CanaryObserved), _last(events, e.ConfigureModelCommand)
    return {
        "policy": policy.model_dump(mode="json", include={"digest", "who", "why"}) if policy else None,
        "deployment": _plain(deployment),
        "alarm": _plain(alarm),
        "advice": advice.model_dump() if advice else None,
        "news": _plain(news),
        "run": _plain(request) if request and request.id not in over else None,
        "progress": _plain(_last(events, e.TrainingProgressed)) if request and request.id not in over else None,
        "canary": _plain(canary) if canary and deployment and deployment.canary == canary.canary else None,
        "live": [_plain(event) for event in live(events, deployment)],
        "waiting": [_plain(event) for event in waiting(events)],
    }


def live(events: Sequence[e.Event], deployment: e.DeploymentChanged | None) -> list[e.VersionObserved]:
    """The latest figures of the versions that serve, champion first."""
    latest = {event.version: event for event in events if isinstance(event, e.VersionObserved)}
    served = [each.version for each in (deployment.champion, deployment.challenger) if each] if deployment else []
    return [latest[version] for version in served if version in latest]


def waiting(events: Sequence[e.Event]) -> list[e.ApprovalChanged]:
    """What waits for a person's approval."""
    latest = {(event.version, event.step): event for event in events if isinstance(event, e.ApprovalChanged)}
    return [event for event in latest.values() if event.state == "requested"]


def show(found: dict[str, Any], seen: Sequence[Seen]) -> None:
    """The summary, for people."""
    console = Console(highlight=False)
    events = [each.event for each in seen]
    deployment = _last(events, e.DeploymentChanged)
    if deployment:
        challenger = deployment.challenger
        pinned = ", pinned" if deployment.pinned else ""
        trial = f", challenger {short(challenger.version)} with {deployment.share:.0%}" if challenger else ""
        console.print(f"[bold]{found['model']}[/]  champion {short(deployment.champion.version)}{pinned}{trial} "
                      f"(revision {deployment.revision}, {deployment.change})")  # fmt: skip
    for event in live(events, deployment):
        console.print(f"Live       {live_words(event)}")
    for asked in waiting(events):
        console.print(f"Waits      {short(asked.version)} for approval of its {asked.step}: "
                      f"`pawl approve {short(asked.version)} --why …` or `pawl reject`", style="bold")  # fmt: skip
    if found["canary"] and (canary := _last(events, e.CanaryObserved)):
        console.print(f"Canary     {canary_words(canary)}")
    if deployment and deployment.experiment:
        arms = ", ".join(arm.name for arm in deployment.experiment.arms)
        console.print(f"Experiment {deployment.experiment.name}: {arms} (`pawl experiment status`)", markup=False)
    if found["progress"]:
        console.print(f"Training   {found['progress']['phase']} {found['progress']['fraction']:.0%}")
    if policy := found["policy"]:
        why = f": {policy['why']}" if policy["why"] else ""
        console.print(f"Policy     {short(policy['digest'])}, applied by {policy['who']}{why}", markup=False)
    console.print(f"Alarm      {found['alarm']['sentence'] if found['alarm'] else 'none is open'}")
    if found["advice"]:
        console.print(f"           {found['advice']['sentence']}", markup=False)
    if news := _news(events, deployment):
        console.print(f"News       {news.sentence}", markup=False)
        if advice := advice_of(events, news):
            console.print(f"           {advice.sentence}", markup=False)
    for review in found["reviews"]:
        console.print(f"Review     {review['said']}", markup=False)
        console.print(f"           {found['urls']['monitor'].rstrip('/')}/reviews/{review['review']}", markup=False)
    for name, guarantee in found["trigger"].get("detectors", {}).items():
        console.print(f"Detector   {name}: {guarantee}", markup=False)
    console.print(f"Trigger    {found['trigger']['sentence']}", markup=False)
    for reason in found["trigger"]["reasons"]:
        console.print(f"           {'✓' if reason['holds'] else '·'} {reason['sentence']}", markup=False)
    console.print("Latest:")
    lines = [(each.at, line) for each in seen for line in tell(each.event)[:1]]
    for at, line in lines[-RECENT:]:
        console.print(f"  {at:%Y-%m-%d %H:%M:%S}  {line.who:<9}  {line.text}", markup=False)


def _news(events: Sequence[e.Event], deployment: e.DeploymentChanged | None) -> e.DriftDetected | None:
    """The latest alarm about the champion's prompts or answers."""
    version = deployment.champion.version if deployment else None
    return next(
        (
            event
            for event in reversed(events)
            if isinstance(event, e.DriftDetected) and event.version == version and not event.fell
        ),
        None,
    )


def _last(events: Sequence[e.Event], cls: type[Any]) -> Any:
    return next((event for event in reversed(events) if isinstance(event, cls)), None)


def _plain(event: e.Event | None) -> dict[str, Any] | None:
    return event.model_dump(mode="json") if event else None
