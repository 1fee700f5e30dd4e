"""Sealed text as a test sees it: what stands on pawl.keys right now."""

from pathlib import Path

from pawl_shared.buses.port import Bus
from pawl_shared.clock import SystemClock
from pawl_shared.sealed import master_keys
from pawl_shared.sealed.key_topic import KeyFollower
from pawl_shared.sealed.text import KeyRing
from pawl_shared.sealed.topic_keys import TopicKeys
from pawl_shared.settings import PawlSettings
from pawl_shared.topics import KEYS


def ring_of(bus: Bus, data_dir: Path) -> KeyRing:
    """A ring that opens with the keys on the topic as it is now, under the master key in a data folder."""
    masters = master_keys.of_settings(PawlSettings(data_dir=data_dir))
    follower = KeyFollower(bus, masters)
    for record in bus.read(KEYS.name):
        if record is not None:
            follower.note(record)
    follower.stop()  # never started: a key that is missing is not waited for
    return KeyRing(TopicKeys(follower, masters, lambda _: None, source="test", clock=SystemClock()))
