"""Who may ask a service for what: the same decision, words, log lines and counts in every service.

Without a file of API keys everybody on this machine may ask for everything, and a service refuses to listen beyond it.
With one, a request shows a key that has the scope it needs: `Authorization: Bearer KEY` (RFC 6750). Failed attempts are
logged and counted, and lock nobody out: nobody guesses 190 bits, and a lock-out would be a way to shut others out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import NamedTuple

from pawl_shared import logging, metrics
from pawl_shared.access.api_key_file import KeyFile
from pawl_shared.access.api_keys import ApiKey, Scope, WrongKeyError, key_of
from pawl_shared.clock import Clock, SystemClock
from pawl_shared.errors import ApiKeysUnreadableError, ConfigurationError, PawlError
from pawl_shared.settings import PawlSettings

log = logging.get(__name__)
_WRONG = {
    "malformed": "Incorrect API key provided: a key of Pawl looks like pawl_ID_SECRET; this is none.",
    "unknown": "Incorrect API key provided: it was revoked or rotated, or never was one; see `pawl keys list`.",
    "expired": "Incorrect API key provided: it has expired; `pawl keys create` makes another one.",
}


class Place(NamedTuple):
    """What is asked for, and from which address; for the log."""

    path: str
    client: str


@dataclass(eq=False)
class AccessRefusedError(PawlError):
    """What the client is told: 401 no key or a wrong one, 403 it lacks the scope, 503 the keys cannot be read."""

    status: int
    message: str
    code: str
    type: str = "invalid_request_error"
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> dict[str, dict[str, str | None]]:
        """The JSON body, in OpenAI's shape."""
        return {"error": {"message": self.message, "type": self.type, "param": None, "code": self.code}}

    def __str__(self) -> str:
        return self.message


class Access:
    """Asks the file of keys anew for every request."""

    def __init__(self, file: KeyFile, service: str, clock: Clock) -> None:
        self._file, self._service, self._clock = file, service, clock

    @staticmethod
    def of(settings: PawlSettings, service: str, clock: Clock | None = None) -> Access:
        """As the settings say; the file is looked at when somebody asks."""
        file = KeyFile(settings.api_keys, required=not is_loopback(settings.http_host))
        return Access(file, service, clock or SystemClock())

    def admit(self, authorization: str | None, scope: Scope, place: Place) -> ApiKey | None:
        """The key that opens `place`; None: keys are not asked for.

        Args:
            authorization: the header; None or empty: there is none.

        Raises:
            AccessRefusedError: counted and logged.
        """
        kind, _, text = (authorization or "").partition(" ")
        return self.admit_key(text.strip() if kind.lower() == "bearer" else "", scope, place)

    def admit_key(self, text: str, scope: Scope, place: Place) -> ApiKey | None:
        """The same for a key that did not come in the header; empty: there is none."""
        keys = self._keys(place)
        if keys is None:
            return None
        if not text:
            raise self._refused("missing", place, _unauthorized(None))
        try:
            key = key_of(keys, text, self._clock.now())
        except WrongKeyError as error:
            raise self._refused(error.reason, place, _unauthorized(error.reason), error.key) from error
        self.need(key, scope, place)
        return key

    def known(self, identity: str, place: Place) -> ApiKey | None:
        """What is kept of a key that was shown before; None: it opens nothing any more.

        Raises:
            AccessRefusedError: the keys cannot be read.
        """
        key = (self._keys(place) or {}).get(identity)
        return None if key is None or key.expired(self._clock.now()) else key

    def need(self, key: ApiKey, scope: Scope, place: Place) -> None:
        """Raises AccessRefusedError: the key lacks the scope."""
        if not key.opens(scope):
            raise self._refused("scope", place, _forbidden(scope), key.id)

    def tells(self, authorization: str | None) -> bool:
        """Whether somebody who asks for a probe is told reasons; no attempt that counts."""
        kind, _, text = (authorization or "").partition(" ")
        try:
            keys = self._file.keys()
            return keys is None or (
                kind.lower() == "bearer" and key_of(keys, text.strip(), self._clock.now()).opens("ops")
            )
        except (ApiKeysUnreadableError, WrongKeyError):
            return False

    @property
    def required(self) -> bool:
        """Whether keys are asked for."""
        try:
            return self._file.keys() is not None
        except ApiKeysUnreadableError:
            return True

    def _keys(self, place: Place) -> Mapping[str, ApiKey] | None:
        try:
            return self._file.keys()
        except ApiKeysUnreadableError as error:
            log.error("API keys cannot be read", reason=str(error))  # noqa: TRY400 - the reason says it all
            text = "The API keys of this server cannot be read, so it lets nobody in. Its log has the details."
            refusal = AccessRefusedError(503, text, "api_keys_unreadable", "server_error", {"Retry-After": "5"})
            raise self._refused("unreadable", place, refusal) from error

    def _refused(
        self, reason: str, place: Place, refusal: AccessRefusedError, key: str | None = None
    ) -> AccessRefusedError:
        metrics.ACCESS_REFUSED.labels(self._service, reason).inc()
        log.warning("access refused", reason=reason, place=place.path, client=place.client, key=key)
        return refusal


def check_host(settings: PawlSettings) -> None:
    """To be called before a service listens.

    Raises:
        ConfigurationError: others could reach it, and there are no keys.
        ApiKeysUnreadableError: the file of keys is damaged.
    """
    if is_loopback(settings.http_host) or KeyFile(settings.api_keys).keys():
        return
    raise ConfigurationError(
        f"PAWL_HTTP_HOST={settings.http_host} lets other machines reach this service, and {settings.api_keys} holds no "
        "API keys: make one with `pawl keys create` (PAWL_API_KEYS_FILE names another file), or listen on 127.0.0.1"
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there. A name other than localhost may lead anywhere."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _unauthorized(reason: str | None) -> AccessRefusedError:
    text = _WRONG[reason] if reason else "Missing API key: send one as `Authorization: Bearer KEY`."
    challenge = 'Bearer error="invalid_token"' if reason else "Bearer"
    return AccessRefusedError(401, text, "invalid_api_key", headers={"WWW-Authenticate": challenge})


def _forbidden(scope: Scope) -> AccessRefusedError:
    text = (
        f"You have insufficient permissions for this operation. Missing scopes: {scope}. "
        f"`pawl keys create --scope {scope}` makes a key that has it."
    )
    challenge = f'Bearer error="insufficient_scope", scope="{scope}"'
    return AccessRefusedError(403, text, "missing_scope", "permission_error", {"WWW-Authenticate": challenge})
