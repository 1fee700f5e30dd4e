"""New data keys on their way to the topic pawl.keys."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from uuid import UUID

from pawl_shared.buses.port import Bus, Message
from pawl_shared.clock import Clock
from pawl_shared.codec import encode
from pawl_shared.errors import BusError
from pawl_shared.events import DataKeyCreated
from pawl_shared.recent import Recent
from pawl_shared.sealed.key_topic import REMEMBERED, KeyFollower
from pawl_shared.sealed.master_keys import MasterKeys
from pawl_shared.sealed.text import DataKey, Keys

# Takes messages with new keys; see Keys.add for what holds when it returns.
Keep = Callable[[Sequence[Message]], None]


def acknowledged(bus: Bus, name: str, timeout: float = 30.0) -> Keep:
    """Publishes and waits, on a connection of its own: for whoever publishes now and then."""

    def keep(messages: Sequence[Message]) -> None:
        producer = bus.producer(name)
        try:
            for future in [producer.send(message) for message in messages]:
                future.result(timeout)
        except FutureTimeoutError as error:
            raise BusError(f"the broker did not acknowledge within {timeout:.0f} s") from error
        finally:
            producer.close()

    return keep


class TopicKeys(Keys):
    """Keys on the topic. New ones go through `keep`: published and acknowledged, or into a journal that is sent in
    order with what they seal. Those are this process's own until the follower has read them, and remembered until then:
    all others are the follower's to remember."""

    def __init__(
        self,
        follower: KeyFollower,
        masters: MasterKeys,
        keep: Keep,
        *,
        source: str,
        clock: Clock,
        remembered: int = REMEMBERED,
    ) -> None:
        self._follower, self._masters, self._keep = follower, masters, keep
        self._source, self._clock = source, clock
        self._lock = threading.Lock()
        self._made: Recent[str, DataKey] = Recent(remembered)
        self._adding: set[str] = set()
        follower.tell(self._read)

    @property
    def unread(self) -> int:
        """How many keys were made here that the follower has not read yet; as many as it remembers at most."""
        return len(self._made)

    def current(self, owner: str) -> DataKey | None:
        with self._lock:
            made = self._made.look(owner)
            if made and self._follower.erased(made.id):
                del self._made[owner]
                made = None
        return made or self._follower.current(owner)

    def add(self, keys: Sequence[DataKey]) -> None:
        ids = {key.id for key in keys}
        with self._lock:
            self._adding |= ids
        try:
            self._keep([encode(self._event(key)) for key in keys])
            with self._lock:
                for key in keys:
                    if key.id in self._adding:  # else it was read already
                        self._made.put(key.owner, key)
        finally:
            with self._lock:
                self._adding -= ids

    def find(self, key_id: str) -> DataKey | None:
        return self._follower.find(key_id)

    def load(self, key_ids: Collection[str]) -> None:
        self._follower.load(key_ids)

    def _read(self, owner: str, key_id: str) -> None:
        with self._lock:
            self._adding.discard(key_id)
            if (made := self._made.get(owner)) and made.id == key_id:
                del self._made[owner]

    def _event(self, key: DataKey) -> DataKeyCreated:
        name = f"{key.owner}/{key.id}"
        return DataKeyCreated(
            id=UUID(key.id),
            time=self._clock.now(),
            source=self._source,
            name=name,
            wrapped=self._masters.wrap(name, key.secret),
            master=self._masters.newest,
        )
