"""Text sealed per subject: AES-256-GCM (NIST SP 800-38D) under a data key of whoever the text belongs to.

An envelope is one line of text, `sealed:v1:KEY_ID:BASE64`, where BASE64 holds a nonce of 12 random bytes, the
ciphertext and its tag of 16 bytes. Associated data is the text's place (which field of which answer), so that an
envelope cannot be moved to another one. Losing a data key erases all that it sealed; nothing else has to be found.
"""

from __future__ import annotations

import os
from binascii import a2b_base64, b2a_base64
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pawl_shared import logging
from pawl_shared.errors import KeysUnreadableError

PREFIX = "sealed:v1:"
KEY_BYTES = 32
KEY_ID_BYTES = 16
NONCE_BYTES = 12

log = logging.get(__name__)


class Unavailable(str):
    """Stands where a text cannot be had, and says why; `isinstance` tells it from a text that reads the same."""


ERASED = Unavailable("[erased]")
UNREADABLE = Unavailable("[unreadable]")


@dataclass(frozen=True, slots=True)
class DataKey:
    """A key that seals the texts of one owner."""

    owner: str
    id: str
    secret: bytes = field(repr=False)

    @staticmethod
    def new(owner: str) -> DataKey:
        """A random key."""
        return DataKey(owner, os.urandom(KEY_ID_BYTES).hex(), os.urandom(KEY_BYTES))


class FoundKeys(Protocol):
    """Keys for whoever only opens; safe to use from threads."""

    def find(self, key_id: str) -> DataKey | None:
        """The key of an envelope; None: it was erased. Raises KeysUnreadableError when that cannot be told now."""

    def load(self, key_ids: Collection[str]) -> None:
        """Have many keys at hand, at the cost of one look-up. Raises KeysUnreadableError."""


class Keys(FoundKeys, Protocol):
    """Where data keys live. Adapters: MemoryKeys, key_topic.TopicKeys (one contract suite)."""

    def current(self, owner: str) -> DataKey | None:
        """A key that may seal texts of this owner; None: a new one has to be made. Never waits."""

    def add(self, keys: Sequence[DataKey]) -> None:
        """Keep new keys. When this returns, no text that they seal can be read by anybody before they can."""


class MemoryKeys(Keys):
    """Keys in a dictionary: for tests and simulations."""

    def __init__(self) -> None:
        self._by_id: dict[str, DataKey] = {}
        self._by_owner: dict[str, DataKey] = {}

    def current(self, owner: str) -> DataKey | None:
        return self._by_owner.get(owner)

    def add(self, keys: Sequence[DataKey]) -> None:
        self._by_id |= {key.id: key for key in keys}
        self._by_owner |= {key.owner: key for key in keys}

    def find(self, key_id: str) -> DataKey | None:
        return self._by_id.get(key_id)

    def load(self, key_ids: Collection[str]) -> None:
        """Everything is at hand."""

    def erase(self, owner: str) -> None:
        """Lose every key of an owner."""
        self._by_owner.pop(owner, None)
        self._by_id = {name: key for name, key in self._by_id.items() if key.owner != owner}


class Opener:
    """Opens envelopes; `open` never raises: what cannot be opened is a marker, so that no consumer stops at it."""

    def __init__(self, keys: FoundKeys) -> None:
        self._found = keys

    def open(self, text: str, place: str) -> str:
        """The text in an envelope; a text that was never sealed as it is; else ERASED or UNREADABLE."""
        if not text.startswith(PREFIX):
            return text
        key_id, _, content = text[len(PREFIX) :].partition(":")
        try:
            key = self._found.find(key_id)
            if key is None:
                return ERASED
            sealed = a2b_base64(content, strict_mode=True)
            opened = AESGCM(key.secret).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _associated(place))
            return opened.decode()
        except (InvalidTag, ValueError):
            log.warning("an envelope is damaged, or does not belong where it stands", key=key_id[:40], place=place)
        except KeysUnreadableError as error:
            log.warning("an envelope cannot be opened now", key=key_id[:40], place=place, reason=str(error))
        return UNREADABLE

    def load(self, texts: Iterable[str]) -> None:
        """Have the keys of all these envelopes at hand; whoever opens many texts calls it first.

        Raises:
            KeysUnreadableError: not now, so that nobody takes for missing what only cannot be read yet.
        """
        self._found.load({text[len(PREFIX) :].partition(":")[0] for text in texts if text.startswith(PREFIX)})


class KeyRing(Opener):
    """Seals as well."""

    def __init__(self, keys: Keys) -> None:
        super().__init__(keys)
        self._keys = keys

    def ensure(self, owners: Iterable[str]) -> dict[str, DataKey]:
        """A key for each owner. Those that are missing are made all at once: one wait for the broker, not one an owner.

        Whoever seals many texts keeps what this answers: nobody else need remember a key that is used once.

        Raises what `Keys.add` raises: BusError, or that the disk is full.
        """
        found = {owner: self._keys.current(owner) for owner in dict.fromkeys(owners)}
        made = {owner: DataKey.new(owner) for owner, key in found.items() if key is None}
        if made:
            self._keys.add(list(made.values()))
        return {owner: key or made[owner] for owner, key in found.items()}

    def seal(self, owner: str, text: str, place: str) -> str:
        """The envelope of a text. Raises what `Keys.add` raises, when the owner has no key yet."""
        return seal(self.ensure([owner])[owner], text, place)


def seal(key: DataKey, text: str, place: str) -> str:
    """The envelope of a text. Half a surrogate pair, which no JSON can hold, becomes U+FFFD."""
    nonce = os.urandom(NONCE_BYTES)
    sealed = nonce + AESGCM(key.secret).encrypt(nonce, _utf8(text), _associated(place))
    return f"{PREFIX}{key.id}:{b2a_base64(sealed, newline=False).decode('ascii')}"


def is_sealed(text: str) -> bool:
    """Whether a text is an envelope."""
    return text.startswith(PREFIX)


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _associated(place: str) -> bytes:
    return place.encode("utf-8", "surrogatepass")
