"""Secrets of a deployment: given by setting, else made once and kept in the data folder, for this user alone."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from pydantic import SecretStr

from pawl_shared import logging
from pawl_shared.errors import ConfigurationError

KEY_BYTES = 32


def load_or_create(path: Path) -> bytes:
    """The key in a file that only this user may read; made when there is none.

    Raises:
        ConfigurationError: the file holds no key.
    """
    make_if_missing(path)
    return from_hex(path.read_text().strip(), str(path))


def make_if_missing(path: Path) -> None:
    """A new key in a file that only this user may read, unless there is one."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        beside = path.with_name(f"{path.name}.{os.getpid()}.new")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(KEY_BYTES))
        try:
            # A link fails where a rename would replace the key that another replica has just made.
            os.link(beside, path)
        except FileExistsError:
            pass
        finally:
            beside.unlink()


def given_or_made(given: SecretStr | None, path: Path, setting: str) -> bytes:
    """The key that a setting names, else the one in the file. Raises ConfigurationError.

    That one is made is told: a service apart from the others has to be given theirs.
    """
    if given:
        return from_hex(given.get_secret_value(), setting)
    tell_if_missing(path, setting)
    return load_or_create(path)


def tell_if_missing(path: Path, setting: str) -> None:
    """Say in the log that a key is going to be made here."""
    if not path.exists():
        logging.get("pawl.secrets").info(
            "a key is made; services with another data folder need the same", file=str(path), setting=setting
        )


def from_hex(text: str, where: str) -> bytes:
    """A key from its hex form. Raises ConfigurationError when it is none, or too short."""
    try:
        key = bytes.fromhex(text)
    except ValueError as error:
        raise ConfigurationError(f"{where} is not hex; make a key with `openssl rand -hex {KEY_BYTES}`") from error
    if len(key) < KEY_BYTES:
        raise ConfigurationError(f"{where} has {len(key)} bytes; make one with `openssl rand -hex {KEY_BYTES}`")
    return key
