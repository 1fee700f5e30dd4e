"""Who is logged in at the console: a signed cookie that names an API key, and never holds it.

Nothing is kept of a login. The signature covers the hash of the secret that was shown, so that a login ends with its
secret: at once when the key is revoked, with the grace period when it is rotated, and after twelve hours in any case.
"""

from __future__ import annotations

import hmac
from datetime import datetime, timedelta
from hashlib import sha256

from pawl_shared.access.api_keys import ApiKey, digest_of
from pawl_shared.access.service import Access, Place
from pawl_shared.clock import Clock

COOKIE = "pawl_console"
LIFETIME = timedelta(hours=12)
_FORM = "v1"


class Logins:
    """Makes cookies and reads them.

    Args:
        secret: what signs them; whoever has the file of keys alone can make none.
    """

    def __init__(self, access: Access, secret: bytes, clock: Clock) -> None:
        self.access, self._secret, self._clock = access, secret, clock

    def cookie(self, key: ApiKey, text: str) -> str:
        """For somebody who has shown this key."""
        body = f"{_FORM}.{key.id}.{int((self._clock.now() + LIFETIME).timestamp())}"
        return f"{body}.{self._mac(body, digest_of(text))}"

    def holder(self, cookie: str, place: Place) -> ApiKey | None:
        """The key of a login that still holds. Raises AccessRefusedError: the keys cannot be read."""
        parts = cookie.split(".")
        if len(parts) != 4 or parts[0] != _FORM:
            return None
        now, body = self._clock.now(), ".".join(parts[:3])
        key = self.access.known(parts[1], place)
        digests = [each.sha256 for each in key.secrets if each.holds(now)] if key else []
        given = parts[3].encode("utf-8", "surrogatepass")
        if not any(hmac.compare_digest(self._mac(body, digest).encode(), given) for digest in digests):
            return None
        return key if now < datetime.fromtimestamp(int(parts[2]), now.tzinfo) else None

    def _mac(self, body: str, digest: str) -> str:
        return hmac.new(self._secret, f"console {body} {digest}".encode(), sha256).hexdigest()
