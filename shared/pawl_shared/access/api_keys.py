"""API keys: what one looks like, what is kept of it, and what it opens.

A key is `pawl_ID_SECRET`: eight hex digits that name it, 32 random letters and digits (190 bits), and six that are the
CRC32 of all before, so that a slip of the hand and a scanner for leaked secrets know one without asking. The form is
GitHub's (github.blog, "Behind GitHub's new authentication token formats", 2021).

What is kept is the SHA-256 of the whole key. A slow hash protects what people can think of; nobody tries 2^190 secrets
at any speed, and each request would pay for it. NIST SP 800-63B 5.1.2.2 asks no more of secrets from 112 bits on.
"""

from __future__ import annotations

import hmac
import re
import zlib
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from random import Random
from string import ascii_letters, digits
from typing import Annotated, Literal, get_args

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

Scope = Literal["infer", "feedback", "ops", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
# Who may change something at the console may look at it.
INCLUDED: Mapping[Scope, frozenset[Scope]] = {"admin": frozenset({"ops"})}

SECRET_CHARACTERS = 32
_ALPHABET = digits + ascii_letters
_FORM = re.compile(rf"pawl_([0-9a-f]{{8}})_[0-9A-Za-z]{{{SECRET_CHARACTERS}}}([0-9A-Za-z]{{6}})")
_NOTHING = "0" * 64

KeyId = Annotated[str, Field(pattern="^[0-9a-f]{8}$")]
Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^\S(.*\S)?$")]


class WrongKeyError(ValueError):
    """A key that opens nothing; `reason` in a word, for logs and metrics."""

    def __init__(self, reason: Literal["malformed", "unknown", "expired"], key: str | None = None) -> None:
        super().__init__(reason)
        self.reason, self.key = reason, key


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Secret(_Kept):
    """The SHA-256 of a whole key, and until when it opens anything; None: as long as the key itself."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    until: AwareDatetime | None = None

    def holds(self, now: datetime) -> bool:
        """Whether it opens anything at this time."""
        return self.until is None or now < self.until


class ApiKey(_Kept):
    """What is kept of one key: never the key."""

    id: KeyId
    name: Name
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1)]
    created: AwareDatetime
    expires: AwareDatetime | None = None
    secrets: Annotated[tuple[Secret, ...], Field(min_length=1, max_length=2)]

    def opens(self, scope: Scope) -> bool:
        """Whether it has a scope, by itself or in another one."""
        return scope in self.scopes or any(scope in INCLUDED.get(each, ()) for each in self.scopes)

    def expired(self, now: datetime) -> bool:
        """Whether its time is over."""
        return self.expires is not None and now >= self.expires

    def rotated(self, digest: str, now: datetime, grace: timedelta) -> ApiKey:
        """With a new secret; the one before goes on for the grace period."""
        old = self.secrets[0]
        end = now + grace
        kept = (Secret(sha256=old.sha256, until=end),) if grace else ()
        return self.model_copy(update={"secrets": (Secret(sha256=digest), *kept)})


class ApiKeys(_Kept):
    """The content of the file of keys."""

    keys: tuple[ApiKey, ...] = ()

    @model_validator(mode="after")
    def _told_apart(self) -> ApiKeys:
        for what in ("id", "name"):
            named = [getattr(key, what) for key in self.keys]
            if twice := {each for each in named if named.count(each) > 1}:
                raise ValueError(f"two keys have the {what} {min(twice)!r}")
        return self

    def by_id(self) -> Mapping[str, ApiKey]:
        """As a request looks one up."""
        return {key.id: key for key in self.keys}

    def with_key(self, key: ApiKey) -> ApiKeys:
        """With this key, in the place of one with its id or name."""
        others = tuple(each for each in self.keys if each.id != key.id and each.name != key.name)
        return ApiKeys(keys=(*others, key))

    def without(self, key: ApiKey) -> ApiKeys:
        """Without this key."""
        return ApiKeys(keys=tuple(each for each in self.keys if each.id != key.id))


def new_text(rng: Random, identity: str | None = None) -> str:
    """A new key; with an identity, a new secret of that one.

    Args:
        rng: the system's, SystemRandom; another one only in tests.
    """
    name = identity or f"{rng.getrandbits(32):08x}"
    body = f"pawl_{name}_" + "".join(rng.choices(_ALPHABET, k=SECRET_CHARACTERS))
    return body + _checksum(body)


def digest_of(text: str) -> str:
    """What is kept of a key: 64 hex digits."""
    return sha256(text.encode()).hexdigest()


def id_of(text: str) -> str | None:
    """The id in what looks like a key; None: it is none, or was mistyped."""
    match = _FORM.fullmatch(text)
    return match[1] if match and _checksum(text[:-6]) == match[2] else None


def key_of(keys: Mapping[str, ApiKey], text: str, now: datetime) -> ApiKey:
    """The key that a text is. Raises WrongKeyError.

    Found by its id, which is no secret; then compared in constant time, also where there is no such id.
    """
    identity = id_of(text)
    if identity is None:
        raise WrongKeyError("malformed")
    found, digest = keys.get(identity), digest_of(text)
    kept: Iterable[str] = [each.sha256 for each in found.secrets if each.holds(now)] if found else []
    matches = [hmac.compare_digest(digest, each) for each in (*kept, _NOTHING)]
    if found is None or not any(matches):
        raise WrongKeyError("unknown", identity)
    if found.expired(now):
        raise WrongKeyError("expired", identity)
    return found


def _checksum(body: str) -> str:
    number, text = zlib.crc32(body.encode()), ""
    for _ in range(6):
        number, digit = divmod(number, len(_ALPHABET))
        text = _ALPHABET[digit] + text
    return text
