import re
import time
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from pawl_cli.model_file import parse
from pawl_shared import events as e
from pawl_shared.buses.memory_bus import MemoryBus
from pawl_shared.buses.port import Message
from pawl_shared.codec import encode
from pawl_shared.errors import BusError, ConfigurationError
from pawl_shared.policies.model_policy import ModelPolicy
from pawl_shared.policies.reward_policy import RewardPolicy, Weight
from pawl_shared.topics import COMMANDS, TOPICS
from pawl_streams.policy import Policies, Scrubbing, load
from pawl_streams.rewards import RewardFollower

PAGE = Path(__file__).parents[3] / "docs" / "feedback.md"


def written(folder: Path, text: str) -> Path:
    path = folder / "policy.toml"
    path.write_text(text)
    return path


def test_without_a_file_the_defaults_hold_for_every_model() -> None:
    assert load(None) == Scrubbing()
    assert Policies().of("any/model").reward == RewardPolicy()
    assert Policies().of("any/model").scrub.enabled


def test_a_model_can_differ(tmp_path: Path) -> None:
    scrubbing = load(written(tmp_path, '[models."default/support".scrub]\nenabled = false\n'))
    assert not scrubbing.of("default/support").enabled
    assert scrubbing.of("default/assistant").enabled


def test_what_a_model_does_not_name_is_as_in_the_default(tmp_path: Path) -> None:
    text = '[default.scrub]\nphone_regions = ["DE"]\n[models.m.scrub]\nkinds = ["phone"]\n'
    scrub = load(written(tmp_path, text)).of("m")
    assert scrub.phone_regions == ("DE",)
    assert scrub.kinds == {"phone"}


def test_the_examples_in_the_documentation_are_valid(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert load(written(tmp_path, example)) != Scrubbing()
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    policy = parse(example, PAGE)
    assert policy.reward != RewardPolicy()
    assert policy.reward.of("metric", "stars") is not None
    assert policy.reward.of("signal", "regenerated") is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[default.scrub]\nclap = 1", "default.scrub.clap"),
        ("[default.reward]\nunchanged = 1", "default.reward"),
        ('[default.scrub]\nphone_regions = ["Germany"]', "no region"),
        ('[default.scrub]\nkinds = ["names"]', "kinds"),
        ("default =", "PAWL_STREAMS_POLICY"),
        ("models = 3", "models"),
        ("default = 3\n[models.m]\n", "default"),
        ("[models]\nm = 3", "models.m"),
        ("[models.m.scrub]\nkinds = 3", "models.m.scrub.kinds"),
    ],
)
def test_a_wrong_file_is_refused_with_the_field(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        load(written(tmp_path, text))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="absent"):
        load(tmp_path / "absent.toml")


def configured(bus: MemoryBus, weight: float, model: str = "default/assistant") -> None:
    policy = ModelPolicy(model=model, reward=RewardPolicy(thumb=Weight(weight=weight)))
    command = e.ConfigureModelCommand(
        id=uuid4(), time=datetime(2026, 1, 1, tzinfo=UTC), source="test", model=model, who="ada", policy=policy,
        digest=policy.digest,
    )  # fmt: skip
    producer = bus.producer("test")
    producer.send(encode(command)).result(10)
    producer.close()


def test_rewards_follow_the_log_and_are_known_before_the_first_record_is_scored() -> None:
    bus = MemoryBus()
    bus.create_topics(TOPICS)
    bus.producer("test").send(Message(COMMANDS.name, b"k", b"not an event")).result(10)
    configured(bus, 2.0)
    configured(bus, 3.0)
    configured(bus, 7.0, "default/support")
    follower = RewardFollower(bus)
    follower.start()
    try:
        policies = Policies(rewards=follower.of)
        assert policies.of("default/assistant").reward.thumb.weight == 3.0
        assert policies.of("default/support").reward.thumb.weight == 7.0
        assert policies.of("default/other").reward == RewardPolicy()
        configured(bus, 4.0)
        give_up = time.monotonic() + 30
        while policies.of("default/assistant").reward.thumb.weight != 4.0:
            assert time.monotonic() < give_up, "a policy that came later is not followed"
            time.sleep(0.01)
    finally:
        follower.stop()


def test_policies_that_cannot_be_read_at_the_start_are_an_error() -> None:
    follower = RewardFollower(MemoryBus())  # without a topic
    with pytest.raises(BusError, match=r"pawl\.commands"):
        follower.start(patience=0.2)
    follower.stop()
