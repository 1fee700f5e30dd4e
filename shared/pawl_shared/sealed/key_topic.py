"""What is read of the data keys on the compacted topic pawl.keys, wrapped by a master key; a tombstone is the erasure.

A follower reads the topic from its beginning and goes on reading, so that an erasure reaches every process within a
second. What it remembers is bounded: a key that was pushed out is read again from the topic when somebody asks for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection

from pawl_shared import logging
from pawl_shared.buses.port import Bus, Record
from pawl_shared.codec import decode
from pawl_shared.errors import DecodeError, KeysUnreadableError, PawlError
from pawl_shared.events import DataKeyCreated
from pawl_shared.recent import Recent
from pawl_shared.sealed.master_keys import MasterKeys
from pawl_shared.sealed.text import DataKey, FoundKeys
from pawl_shared.topics import KEYS

log = logging.get(__name__)

REMEMBERED = 50_000  # some 40 MB with owners and ids
POLL_SECONDS = 0.5
RETRY_SECONDS = 1.0
# How long somebody who asks for a key waits until the topic's end is read; a start over 100,000 keys takes some 5 s.
PATIENCE = 20.0
ATTEMPTS = 3

# Told a record that cannot be read, and why.
Unreadable = Callable[[Record, str], None]
# Told the record's key of a data key that was sent again after its tombstone.
Revived = Callable[[bytes], None]
# Told the owner and the id of a key that was read.
Read = Callable[[str, str], None]


class KeyFollower(FoundKeys):
    """What the topic holds, as far as it has been read. Erased once is erased: a copy that comes later is ignored.

    `passing` names owners whose keys are not remembered, for whoever seals and hardly opens: a request without user and
    session has a key of its own, which nobody asks for again, and at ten answers a second they would push out those of
    people within the hour. Such a key is still found, by reading the topic.
    """

    def __init__(
        self,
        bus: Bus,
        masters: MasterKeys,
        *,
        unreadable: Unreadable | None = None,
        revived: Revived | None = None,
        behind: Callable[[int], None] = lambda _: None,
        passing: Callable[[str], bool] = lambda _: False,
        remembered: int = REMEMBERED,
    ) -> None:
        self._bus, self._masters, self._passing = bus, masters, passing
        self._told: list[Read] = []
        self._unreadable, self._revived, self._behind = unreadable, revived, behind
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._by_id: Recent[str, DataKey] = Recent(remembered)
        self._by_owner: Recent[str, str] = Recent(remembered)
        self._erased: Recent[str, bool] = Recent(remembered)  # False: not on the topic when it was read to its end
        self._locked: Recent[str, str] = Recent(remembered)  # why a key cannot be unwrapped
        self._rounds = 0
        self._gave_up = -1  # at which round somebody last waited in vain
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="key-follower", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Stop reading."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(10)

    def tell(self, read: Read) -> None:
        """Call this for every key that is read from now on."""
        self._told.append(read)

    @property
    def remembered(self) -> int:
        """How many keys are at hand."""
        return len(self._by_id)

    def current(self, owner: str) -> DataKey | None:
        """The owner's latest key that stands on the topic and is at hand."""
        with self._lock:
            key_id = self._by_owner.look(owner)
            return self._by_id.look(key_id) if key_id else None

    def erased(self, key_id: str) -> bool:
        """Whether a tombstone was read."""
        with self._lock:
            return self._erased.get(key_id, False)

    def find(self, key_id: str) -> DataKey | None:
        """See Keys.find. Waits until the topic is read to its end when the key is not at hand."""
        for _ in range(ATTEMPTS):
            self.load([key_id])
            with self._lock:
                if key := self._by_id.look(key_id):
                    return key
                if key_id in self._locked:
                    raise KeysUnreadableError(self._locked[key_id])
                if key_id in self._erased:
                    return None
        raise KeysUnreadableError(f"others push this key out of memory each time; {self._by_id.limit} are remembered")

    def load(self, key_ids: Collection[str]) -> None:
        """See Keys.load."""
        missing = self._missing(key_ids)
        if not missing:
            return
        # As long as nothing was pushed out, all that stands on the topic is at hand once its end is reached.
        standing = self._scan(missing) if self._by_id.overflowed or not self._await_end(missing) else set()
        with self._lock:
            for key_id in set(self._missing(missing)) - standing:
                self._erased.put(key_id, False)

    def note(self, record: Record, wanted: bool = False) -> None:
        """Take in one record of the topic; `wanted`: also the key of a passing owner."""
        if record.value is None:
            self._erase(_key_id(record))
            return
        try:
            event = decode(record)
        except DecodeError as error:
            log.warning("a key's record is not readable", offset=record.offset, reason=str(error))
            if self._unreadable:
                self._unreadable(record, str(error))
            return
        if not isinstance(event, DataKeyCreated):
            return
        if not self.erased(_key_id(record)):
            self._take(event, wanted)
        elif self._revived:
            # Left alone, compaction would keep the later record, which is this one.
            self._revived(record.key or b"")

    def _take(self, event: DataKeyCreated, wanted: bool) -> None:
        owner, _, key_id = event.name.rpartition("/")
        if not wanted and self._passing(owner):
            self._by_id.overflowed = True
        else:
            self._remember(event, owner, key_id)
        for told in self._told:
            told(owner, key_id)

    def _remember(self, event: DataKeyCreated, owner: str, key_id: str) -> None:
        with self._changed:
            try:
                secret = self._masters.unwrap(event.name, event.wrapped, event.master)
            except KeysUnreadableError as error:
                if not self._locked:
                    log.warning("a key cannot be unwrapped; further ones are not reported", reason=str(error))
                self._locked.put(key_id, str(error))
            else:
                self._erased.pop(key_id, None)
                self._by_id.put(key_id, DataKey(owner, key_id, secret))
                self._by_owner.put(owner, key_id)
            self._changed.notify_all()

    def _erase(self, key_id: str) -> None:
        with self._changed:
            self._erased.put(key_id, True)
            self._locked.pop(key_id, None)
            key = self._by_id.pop(key_id, None)
            if key and self._by_owner.get(key.owner) == key_id:
                del self._by_owner[key.owner]

    def _missing(self, key_ids: Collection[str]) -> list[str]:
        with self._lock:
            return [i for i in key_ids if i not in self._by_id and i not in self._erased and i not in self._locked]

    def _await_end(self, key_ids: Collection[str]) -> bool:
        """The end counts when it was asked for after this call, so the second time that the reader stands there.
        False: it was reached, but keys were pushed out on the way."""
        with self._changed:
            target = self._rounds + 2
            if self._rounds > self._gave_up:  # else nobody waits a second time for a broker that is away
                self._changed.wait_for(
                    lambda: self._rounds >= target or not self._missing(key_ids) or self._stop.is_set(), PATIENCE
                )
            if self._rounds < target and self._missing(key_ids):
                self._gave_up = self._rounds
                raise KeysUnreadableError(f"{KEYS.name} could not be read to its end within {PATIENCE:.0f} s")
            return not self._by_id.overflowed

    def _scan(self, wanted: Collection[str]) -> set[str]:
        """Read the topic once for keys that were pushed out of memory; answers those that stand there."""
        among, standing = set(wanted), set[str]()
        try:
            for record in self._bus.read(KEYS.name):
                key_id = _key_id(record) if record else ""
                if record and key_id in among:
                    standing.add(key_id)
                    self.note(record, wanted=True)
        except PawlError as error:
            raise KeysUnreadableError(f"{KEYS.name} cannot be read: {error}") from error
        return standing

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                for record in self._bus.read(KEYS.name, self._stop.is_set, POLL_SECONDS, self._behind):
                    if record is not None:
                        self.note(record)
                        continue
                    with self._changed:
                        self._rounds += 1
                        self._changed.notify_all()
            except PawlError as error:
                log.warning("keys cannot be read; trying again", reason=str(error))
            except Exception:
                # A thread that ended here would miss every erasure from now on.
                log.exception("following keys failed; it starts again")
            self._stop.wait(RETRY_SECONDS)


def _key_id(record: Record) -> str:
    return (record.key or b"").decode("utf-8", "replace").rpartition("/")[2]
