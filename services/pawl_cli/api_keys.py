"""Making, rotating and revoking API keys; and the key that this machine's own commands show."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from random import Random, SystemRandom

from filelock import FileLock
from pydantic import ValidationError

from pawl_shared.access.api_key_file import load, save, write_private
from pawl_shared.access.api_keys import (
    SCOPES,
    ApiKey,
    ApiKeys,
    Scope,
    Secret,
    WrongKeyError,
    digest_of,
    id_of,
    key_of,
    new_text,
)
from pawl_shared.clock import Clock, SystemClock
from pawl_shared.errors import PawlError

SPAN = re.compile(r"(\d{1,6})([smhd])")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
# The key of this machine's own commands; whoever can read it can write the file of keys as well, so it opens all.
LOCAL = "pawl-cli"


class ApiKeyError(PawlError):
    """A key cannot be made or found."""


@dataclass(frozen=True)
class Made:
    """A key, and what its owner shows: to be told once."""

    key: ApiKey
    text: str


class KeyStore:
    """Changes one file of keys; every change reads it anew under a lock.

    Every method raises ApiKeysUnreadableError when the file is damaged, and ApiKeyError when it cannot be written.
    """

    def __init__(self, path: Path, clock: Clock | None = None, rng: Random | None = None) -> None:
        self.path = path
        self._clock, self._rng = clock or SystemClock(), rng or SystemRandom()

    def all(self) -> tuple[ApiKey, ...]:
        """The keys, the oldest first."""
        return tuple(sorted(load(self.path).keys, key=lambda key: (key.created, key.id)))

    def create(self, name: str, scopes: tuple[Scope, ...], lifetime: timedelta | None) -> Made:
        """A new key. Raises ApiKeyError: there is one of that name, or the name is none."""
        with self._changing() as keys:
            if any(key.name == name for key in keys.keys):
                raise ApiKeyError(f"there is a key {name!r} already: give another name, or `pawl keys rotate {name}`")
            if (other := keys.by_id().get(name)) is not None:
                raise ApiKeyError(f"{name!r} is the id of the key {other.name!r}: give another name")
            return self._put(keys, name, scopes, lifetime)

    def rotate(self, which: str, grace: timedelta) -> Made:
        """A new secret for a key; the one before opens what it did for the grace period. Raises ApiKeyError."""
        with self._changing() as keys:
            key, now = self._named(keys, which), self._clock.now()
            if key.expired(now):
                raise ApiKeyError(f"{key.name} has expired: revoke it, and create another one")
            text = new_text(self._rng, key.id)
            key = key.rotated(digest_of(text), now, grace)
            save(self.path, keys.with_key(key))
            return Made(key, text)

    def revoke(self, which: str) -> ApiKey:
        """A key that opens nothing from now on. Raises ApiKeyError."""
        with self._changing() as keys:
            key = self._named(keys, which)
            save(self.path, keys.without(key))
            return key

    def local(self, remembered: Path) -> str:
        """The key of this machine's own commands, kept in a file of its own; made anew when it opens nothing any more.
        Empty: keys are not asked for."""
        if not self.path.exists():
            return ""
        try:
            text = remembered.read_text().strip()
            key_of(load(self.path).by_id(), text, self._clock.now())
        except (OSError, WrongKeyError):
            with self._changing() as keys:
                text = self._put(keys, LOCAL, SCOPES, None).text
                write_private(remembered, text + "\n")
        return text

    def _put(self, keys: ApiKeys, name: str, scopes: tuple[Scope, ...], lifetime: timedelta | None) -> Made:
        """With a new key in the place of one of that name."""
        text = new_text(self._rng)
        taken = keys.by_id().keys() | {key.name for key in keys.keys}
        while (identity := id_of(text)) is None or identity in taken:
            text = new_text(self._rng)
        now = self._clock.now()
        expires = now + lifetime if lifetime else None
        secrets = (Secret(sha256=digest_of(text)),)
        try:
            key = ApiKey(id=identity, name=name, scopes=scopes, created=now, expires=expires, secrets=secrets)
        except ValidationError as error:
            raise ApiKeyError(f"{name!r} is no name for a key: 1 to 100 characters, no space at its ends") from error
        save(self.path, keys.with_key(key))
        return Made(key, text)

    def _named(self, keys: ApiKeys, which: str) -> ApiKey:
        for key in sorted(keys.keys, key=lambda key: key.id != which):  # an id first: nothing else has it
            if which in (key.id, key.name):
                return key
        raise ApiKeyError(f"there is no key {which!r} in {self.path}: `pawl keys list` shows their names and ids")

    @contextmanager
    def _changing(self) -> Iterator[ApiKeys]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with FileLock(self.path.with_name(f"{self.path.name}.lock")):
                yield load(self.path)
        except OSError as error:
            raise ApiKeyError(
                f"{self.path} cannot be changed ({error.strerror}): change the file that it was made from, as its owner"
            ) from error


def for_commands(data: Path, file: Path, scopes: Sequence[Scope] = ()) -> str:
    """What this machine's commands show to services: PAWL_API_KEY, else a key of their own; empty: none is asked for.

    Raises:
        ApiKeyError: one is needed, and cannot be made; or the one that is given lacks one of these scopes.
    """
    if given := os.environ.get("PAWL_API_KEY", ""):
        if scopes and file.exists():
            _check(file, given, scopes)
        return given
    try:
        return KeyStore(file).local(data / "keys" / "local.key")
    except ApiKeyError as error:
        raise ApiKeyError(f"{error}; or give a key with the scope admin in PAWL_API_KEY") from error


def shown(key: str) -> dict[str, str]:
    """The headers that show a key; none for an empty one."""
    return {"Authorization": f"Bearer {key}"} if key else {}


def span(text: str) -> timedelta:
    """A length of time: a number and s, m, h or d. Raises ApiKeyError."""
    match = SPAN.fullmatch(text)
    if not match:
        raise ApiKeyError(f"{text!r} is no length of time: give a number and s, m, h or d, such as 90d")
    return timedelta(**{UNITS[match[2]]: int(match[1])})


def lifetime(text: str) -> timedelta | None:
    """The same for how long a key lives; empty: for ever. Raises ApiKeyError."""
    if not text:
        return None
    found = span(text)
    if not found:
        raise ApiKeyError("--expires 0 would make a key that opens nothing: give a longer time, or leave it out")
    return found


def status(key: ApiKey, now: datetime) -> str:
    """What people are told of a key beside its fields."""
    if key.expired(now):
        return "expired"
    return "rotated; the old secret still opens it" if len([s for s in key.secrets if s.holds(now)]) > 1 else "valid"


def _check(file: Path, text: str, scopes: Sequence[Scope]) -> None:
    advice = "give another one, or none: then this machine makes its own"
    try:
        key = key_of(load(file).by_id(), text, SystemClock().now())
    except WrongKeyError as error:
        raise ApiKeyError(f"PAWL_API_KEY is no key of {file} ({error.reason}): {advice}") from error
    if lacking := [scope for scope in scopes if not key.opens(scope)]:
        raise ApiKeyError(f"the key {key.name!r} in PAWL_API_KEY lacks {', '.join(lacking)}: {advice}")
