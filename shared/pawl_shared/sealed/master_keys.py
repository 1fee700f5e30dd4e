"""Master keys wrap data keys. The newest wraps; every one that is listed still unwraps, so that it can be rotated."""

from __future__ import annotations

import hashlib
import os
from binascii import a2b_base64, b2a_base64
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pawl_shared import secret_files
from pawl_shared.errors import ConfigurationError, KeysUnreadableError
from pawl_shared.sealed.text import KEY_BYTES, NONCE_BYTES
from pawl_shared.settings import PawlSettings


class MasterKeys:
    """Wraps and unwraps secrets of 32 bytes by AES-256-GCM; a secret's name is its associated data."""

    def __init__(self, newest: bytes, *older: bytes) -> None:
        self._ciphers = {_identity(key): AESGCM(key) for key in (newest, *older)}
        self.newest = _identity(newest)

    def wrap(self, name: str, secret: bytes) -> str:
        """A secret as base64 text: nonce, ciphertext, tag."""
        nonce = os.urandom(NONCE_BYTES)
        wrapped = nonce + self._ciphers[self.newest].encrypt(nonce, secret, name.encode("utf-8", "surrogatepass"))
        return b2a_base64(wrapped, newline=False).decode("ascii")

    def unwrap(self, name: str, wrapped: str, master: str) -> bytes:
        """The secret. Raises KeysUnreadableError: the master key is not listed here, or the record was changed."""
        cipher = self._ciphers.get(master)
        if cipher is None:
            raise KeysUnreadableError(
                f"master key {master[:40]!r} is not listed here (known: {', '.join(self._ciphers)}): "
                "give every service the same PAWL_MASTER_KEYS file, and keep older keys in it"
            )
        try:
            content = a2b_base64(wrapped, strict_mode=True)
            return cipher.decrypt(content[:NONCE_BYTES], content[NONCE_BYTES:], name.encode("utf-8", "surrogatepass"))
        except (InvalidTag, ValueError) as error:
            raise KeysUnreadableError(
                f"the wrapped key {name[-32:]} is damaged, or was moved to another name"
            ) from error


def of_settings(settings: PawlSettings) -> MasterKeys:
    """The master keys that the settings name; without any, the one in the data folder, made where there is none.

    Raises:
        ConfigurationError: the file is missing, or a line of it is no key.
    """
    if settings.master_keys is None:
        path = settings.data_dir / "keys" / "master.keys"
        secret_files.tell_if_missing(path, "PAWL_MASTER_KEYS")
        secret_files.make_if_missing(path)
        return read(path)
    return read(settings.master_keys)


def read(path: Path) -> MasterKeys:
    """The keys in a file: 64 hex digits a line, the newest first; empty lines and those with # in front do not count.

    Raises:
        ConfigurationError: the file is missing, or a line of it is no key.
    """
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
    except OSError as error:
        raise ConfigurationError(
            f"cannot read the master keys in {path} (PAWL_MASTER_KEYS): {error.strerror}"
        ) from error
    keys = [secret_files.from_hex(line, f"a line of {path}") for line in lines if line and not line.startswith("#")]
    if not keys or any(len(key) != KEY_BYTES for key in keys):
        raise ConfigurationError(f"{path} needs a master key a line; make one with `openssl rand -hex {KEY_BYTES}`")
    return MasterKeys(*keys)


def _identity(key: bytes) -> str:
    """A short public name of a key: 8 hex digits of its SHA-256."""
    return hashlib.sha256(key).hexdigest()[:8]
