"""What a request says beside its body: for how long it may take, and whose turn it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256

from pawl_inference import errors
from pawl_inference.domain.assignment import Caller
from pawl_shared.access.api_keys import id_of

TIMEOUT_HEADER = "x-request-timeout"


@dataclass(frozen=True)
class Terms:
    """`app` tells API keys apart, and names none."""

    app: str = ""
    timeout_seconds: float = math.inf

    def after(self, seconds: float) -> Terms:
        """What is left of them when so much time has passed."""
        return replace(self, timeout_seconds=self.timeout_seconds - seconds)

    def share(self, caller: Caller) -> tuple[str, ...]:
        """Apps take turns, and in an app its users; where nobody is named, its sessions do."""
        user = caller.subject or caller.session
        return (self.app, user) if self.app else (user,)


def terms_of(headers: Mapping[str, str], longest: float) -> Terms:
    """From a request's headers, names in lower case.

    Args:
        longest: seconds that no request may ask to exceed; asking for more gives this much.

    Raises:
        ApiError: the timeout is no number of seconds.
    """
    seconds = _seconds(headers[TIMEOUT_HEADER]) if TIMEOUT_HEADER in headers else longest
    return Terms(_app(headers.get("authorization", "")), min(longest, seconds))


def _app(authorization: str) -> str:
    """The key's id: neither its two secrets while it is rotated nor spaces in the header make two apps of one."""
    key = authorization.partition(" ")[2].strip()
    return id_of(key) or (sha256(key.encode()).hexdigest()[:16] if key else "")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise errors.invalid(TIMEOUT_HEADER, f"{TIMEOUT_HEADER}: {text[:40]!r} is no number of seconds above 0.")
    return seconds
