"""What the serving benchmarks measure with: streams read from a socket, lines through samples, percentiles."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

import pytest
from benchmarks.serving_concurrency import LEVELS, percentile, prompts
from benchmarks.serving_soak import fit
from benchmarks.support.llama_server import executable
from benchmarks.support.streaming import Streamed, body, clients, stream

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def against(answer: bytes, ask: Callable[[int], Awaitable[Streamed]]) -> Streamed:
    """What a client finds at a server that answers everybody the same, in chunks as HTTP cuts them."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-l"))
        assert json.loads(await reader.readexactly(length))["stream"]
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        return await ask(server.sockets[0].getsockname()[1])


def events(*contents: object, end: bool = True) -> bytes:
    told = [b"data: " + json.dumps(content).encode() + b"\n\n" for content in contents]
    told += [b"data: [DONE]\n\n"] if end else []
    chunks = b"".join(f"{len(line):x}\r\n".encode() + line + b"\r\n" for line in told)
    return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


def piece(text: str) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": {"content": text}}]}


USAGE = {"choices": [], "usage": {"completion_tokens": 7}}


async def test_a_stream_is_read_piece_by_piece() -> None:
    found = await against(events(piece(""), piece("Hi"), piece(" you"), USAGE), lambda p: stream(p, body("Hi", 9)))
    assert (found.status, found.text, found.tokens, found.complete) == (200, "Hi you", 7, True)
    assert (len(found.moments), len(found.gaps)) == (2, 1)


async def test_who_hangs_up_has_no_whole_answer() -> None:
    asked = events(piece("a"), piece("b"), USAGE)
    found = await against(asked, lambda p: stream(p, body("Hi", 9), leave_after=1))
    assert (found.text, found.complete) == ("a", False)


@pytest.mark.parametrize("answer", [events(piece("a"), end=False), b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n"])
async def test_an_answer_that_is_not_whole_ends_a_measurement(answer: bytes) -> None:
    async def ask(port: int) -> Streamed:
        return (await clients(port, [["Hi"]], 9)).answers[0]

    with pytest.raises(RuntimeError, match="1 of 1 answers did not come whole"):
        await against(answer, ask)


def test_a_line_through_noise_that_does_not_grow_has_a_slope_of_zero_in_its_interval() -> None:
    flat = fit([(at / 100, 500 + (at * 7919 % 13) / 13) for at in range(1000)])
    assert flat.low < 0 < flat.high
    growing = fit([(at / 100, 500 + at / 100 + (at * 7919 % 13) / 13) for at in range(1000)])
    assert growing.low > 0.9
    assert growing.slope == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("seed", range(5))
def test_a_leak_of_2_mb_an_hour_is_found_in_twenty_minutes_beside_noise_that_lasts(seed: int) -> None:
    random, noise, samples = Random(seed), 0.0, []
    for second in range(1200):
        noise = 0.983 * noise + random.gauss(0, 0.018)  # 0.1 MB, halved in 40 s
        samples.append((second / 3600, 570 + 2 * second / 3600 + noise))
    found = fit(samples)
    assert found.low > 0
    assert found.slope == pytest.approx(2, abs=1)


def test_percentiles_and_prompts() -> None:
    assert [percentile([3.0, 1.0, 2.0, 4.0], share) for share in (0.0, 0.5, 0.95)] == [1.0, 3.0, 4.0]
    asked = [prompt for level in LEVELS for own in prompts(level, 1) for prompt in own]
    assert len(set(asked)) == len(asked)


def test_the_peer_is_named_by_a_variable_or_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("PAWL_LLAMA_SERVER", raising=False)
    assert executable() is None
    program = tmp_path / "llama-server"
    program.touch(0o755)
    assert executable() == str(program)
    monkeypatch.setenv("PAWL_LLAMA_SERVER", "/elsewhere/llama-server")
    assert executable() == "/elsewhere/llama-server"
