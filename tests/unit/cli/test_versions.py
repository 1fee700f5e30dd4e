"""The versions of a model as people choose from them: prefixes, spans of service, what is on trial."""

from datetime import timedelta

import pytest
from support.samples import ADAPTER, BASE, GRAPH, MODEL, SAMPLES, SLOTS, VERSION, WHEN, uid

from pawl_cli.commands.models import precision
from pawl_cli.log.follow import Seen
from pawl_cli.log.versions import UnknownVersionError, Version, find, versions
from pawl_shared import events as e

SERVED = e.DeployedVersion(version=ADAPTER, base=BASE, graph=GRAPH, slot_file=SLOTS)


def deployed(minute: int, champion: e.DeployedVersion, **more: object) -> Seen:
    at = WHEN + timedelta(minutes=minute)
    values = {"id": uid(minute), "time": at, "source": "t", "model": MODEL, "revision": minute, "champion": champion}
    return Seen(at, e.DeploymentChanged.model_validate(values | {"change": "promoted"} | more))


def story() -> list[Seen]:
    told = [event for event in SAMPLES if isinstance(event, e.ModelRegistered | e.AdapterTrained | e.StageChanged)]
    told += [event for event in SAMPLES if isinstance(event, e.CandidateValidated | e.VersionObserved)]
    return [Seen(WHEN, event) for event in told]


def test_what_is_told_of_a_version() -> None:
    spans = [
        deployed(1, VERSION),
        deployed(2, VERSION, challenger=SERVED, share=0.1),
        deployed(3, SERVED),
        deployed(4, VERSION, pinned=BASE),
        deployed(5, SERVED),
    ]
    base, adapter = sorted(versions([*story(), *spans]), key=lambda version: version.kind, reverse=True)
    moments = [WHEN + timedelta(minutes=minute) for minute in range(6)]
    assert base.served == ((moments[1], moments[3]), (moments[4], moments[5]))
    assert adapter.served == ((moments[3], moments[4]), (moments[5], None))
    assert (adapter.serves, base.serves, base.pinned) == (True, False, False)
    assert (adapter.stage, adapter.reasons, adapter.recipe) == ("champion", ("won",), "dpo")
    assert adapter.gates
    assert base.live is not None
    at_two = {version.version: version for version in versions([*story(), *spans[:2]])}
    assert (at_two[ADAPTER].on_trial, at_two[BASE].on_trial) == (0.1, 0)
    at_four = {version.version: version for version in versions([*story(), *spans[:4]])}
    assert at_four[BASE].pinned


def test_a_base_tells_how_far_its_graph_is_from_fp32() -> None:
    (known,) = [event for event in SAMPLES if isinstance(event, e.ModelRegistered)]
    seen = {"kl_mean": 0.0123, "kl_max": 0.6, "top1": 0.951, "positions": 1300.0}
    registered = known.model_copy(update={"precision": "int8", "fidelity": seen})
    (version,) = versions([Seen(WHEN, registered)])
    said = "int8: against fp32 KL 0.012 nats (at most 0.6), the same likeliest token at 95.1% of 1,300 positions"
    assert precision(version) == said
    assert precision(Version("aa" * 32)) == ""


def test_a_persons_no_leaves_what_the_gates_found() -> None:
    (passed,) = [event for event in SAMPLES if isinstance(event, e.CandidateValidated)]
    (refused,) = [event for event in SAMPLES if isinstance(event, e.CandidateRejected)]
    no = refused.model_copy(update={"adapter": passed.adapter, "gates": ()})
    (version,) = versions([Seen(WHEN, passed), Seen(WHEN, no)])
    assert version.gates == passed.gates
    assert passed.gates


def test_a_prefix_is_enough_where_it_is_one() -> None:
    one, two = Version("aa11" * 16, stage="champion"), Version("aa11" * 15 + "bb22", stage="rejected")
    three = Version("cc" * 32)
    known = [one, two, three]
    assert find(known, MODEL, "CC") is three
    assert find(known, MODEL, two.version) is two
    with pytest.raises(UnknownVersionError, match=r"2 versions .* begin with aa.*name more"):
        find(known, MODEL, "aa")
    with pytest.raises(UnknownVersionError) as error:
        find(known, MODEL, "dd")
    assert f"{one.version} (champion)" in str(error.value), "as long as it takes to tell them apart"
    assert "pawl models list" in str(error.value)
    with pytest.raises(UnknownVersionError, match="no versions yet"):
        find([], MODEL, "dd")
    with pytest.raises(UnknownVersionError, match="begins with nothing"):
        find(known, MODEL, " ")
