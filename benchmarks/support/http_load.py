"""A client over raw sockets: an HTTP library would take more of the processor than the server that is measured."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Answered:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes


def request(path: str, body: object, **headers: str) -> bytes:
    """A POST of JSON, ready to be written; header names with underscores."""
    content = json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", f"host: {HOST}", "content-type: application/json"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join([*lines, f"content-length: {len(content)}"]) + "\r\n\r\n").encode() + content


class Connection:
    """One kept connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @staticmethod
    async def to(port: int) -> Connection:
        return Connection(*await asyncio.open_connection(HOST, port))

    async def exchange(self, content: bytes) -> Answered:
        """Write a request and read its answer."""
        self._writer.write(content)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.rstrip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await self._reader.readexactly(int(headers.get("content-length", 0)))
        return Answered(int(first.split()[1]), headers, body)

    def close(self) -> None:
        self._writer.close()
