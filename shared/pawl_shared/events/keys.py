"""Keys of sealed text."""

from __future__ import annotations

from pydantic import Field

from pawl_shared.events.base import Event


class DataKeyCreated(Event):
    """A data key, wrapped by a master key. A record of the same key without a value erases it, and all it sealed."""

    TYPE = "pawl.key.created.v1"
    KEY = "name"

    name: str = Field(pattern=r"^[\s\S]+/[0-9a-f]{32}$", description="whose texts it seals, a slash, and the key's id")
    wrapped: str = Field(description="base64: nonce and AES-256-GCM of the key; associated data is the name")
    master: str = Field(description="id of the master key that wrapped it")
