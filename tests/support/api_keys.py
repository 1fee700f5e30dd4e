"""API keys in a file, as `pawl keys` writes them."""

from datetime import UTC, datetime
from pathlib import Path
from random import SystemRandom

from pawl_shared.access.api_key_file import load, save
from pawl_shared.access.api_keys import ApiKey, Scope, Secret, digest_of, id_of, new_text

CREATED = datetime(2026, 1, 1, tzinfo=UTC)


def a_key(path: Path, *scopes: Scope, name: str = "") -> str:
    """Adds a key to the file; answers what its owner shows."""
    text = new_text(SystemRandom())
    secrets = (Secret(sha256=digest_of(text)),)
    identity = id_of(text) or ""
    key = ApiKey(id=identity, name=name or identity, scopes=scopes, created=CREATED, secrets=secrets)
    save(path, load(path).with_key(key))
    return text


def revoke(path: Path, text: str) -> None:
    """Takes a key away."""
    keys = load(path)
    save(path, keys.without(keys.by_id()[id_of(text) or ""]))
