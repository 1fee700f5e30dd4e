"""A version with something wrong is refused with a reason of its own, all the way from the log; serving goes on."""

from collections.abc import Iterator

import pytest
from support.inference import CANARY, MODEL, eventually, running
from support.tiny_engine import TinyServing
from support.tiny_world import Damage, TinyWorld, answered

from pawl_inference.server import InferenceService
from pawl_shared.topics import REPLICAS

REASONS = {
    "wrong_base": "(wrong_base): the file is for base 000000000000, not bbbbbbbbbbbb",
    "base_of_another_graph": "belongs to base 000000000000 and the graph to bbbbbbbbbbbb",
    "wrong_graph": "(wrong_graph): the file is for graph 000000000000",
    "another_version": "(wrong_version): the file is for adapter 000000000000",
    "wrong_rank": "(rank): the file is for rank 17, not 16",
    "wrong_shape": "(shape): ",
    "not_a_number": "(not_finite): ",
    "infinite": "holds NaN or infinite values",
    "too_large": "holds values beyond 65504",
    "unknown_tensor": "(unknown_tensor): the graph has no input surprise",
    "missing_tensor": "is missing, not (",
    "truncated": "(unreadable): not a whole safetensors file",
    "trained_format": "(wrong_format): ",
    "digest_mismatch": "artifact abababababab has the content of",
    "missing": "no artifact cdcdcdcdcdcd",
    "broken_graph": "cannot be opened",
}


@pytest.fixture(scope="module")
def served(
    tiny: TinyServing, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[TinyWorld, InferenceService, list[int]]]:
    """One service for all faults; the revisions go on counting."""
    world = TinyWorld(tmp_path_factory.mktemp("faulty"), tiny=tiny)
    world.deploy(1, champion=world.trained(1))
    with running(world) as service:
        eventually(lambda: service.health.ready)
        yield world, service, [1]


@pytest.mark.parametrize("place", ["champion", "challenger"])
@pytest.mark.parametrize("fault", REASONS)
def test_it_is_refused_with_its_reason_and_serving_goes_on(
    served: tuple[TinyWorld, InferenceService, list[int]], fault: str, place: str
) -> None:
    world, service, revisions = served
    before = answered(service)
    revisions[0] += 1
    good, bad = world.trained(1), Damage(world).version(fault)
    if place == "champion":
        world.deploy(revisions[0], champion=bad)
    else:
        world.deploy(revisions[0], champion=good, challenger=bad, canary=CANARY, share=0.5)
    told = f"revision {revisions[0]}: "
    report = eventually(lambda: next((r for r in world.read(REPLICAS) if told in str(r.problems)), None))
    assert REASONS[fault] in report.problems[0]
    assert (report.healthy, report.applied) == (True, {MODEL: 1})
    after = answered(service)
    assert (after["choices"], after["system_fingerprint"]) == (before["choices"], good.version)
    assert service.health.ready
