"""Sealing and opening short texts of many subjects, beside the bare AEAD on the same texts, keys and places.

What the difference pays for: the look-up of keys, base64 both ways, and an envelope that names its key.

Rates are per second of one core's time (`time.process_time`), as the target is: what else runs does not count.

Run: .venv/bin/python -m benchmarks.sealing [--quick]
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from benchmarks.harness import Benchmark, Run, Target, main
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pawl_shared.sealed.text import NONCE_BYTES, KeyRing, MemoryKeys

COUNT = 10_000
SUBJECTS = 1_000
TEXT = "A pawl lets the wheel turn one way only, so what was gained is never lost again, {}. How does it do that?"


def work() -> list[tuple[str, str, str]]:
    """Owner, text and place of each item; owners take turns, so that no key is used twice in a row."""
    return [(f"default/subject/{n % SUBJECTS}", TEXT.format(n), f"{n}/0/answer") for n in range(COUNT)]


def through_ring(ring: KeyRing, items: list[tuple[str, str, str]]) -> None:
    for owner, text, place in items:
        assert ring.open(ring.seal(owner, text, place), place) == text


def through_aead(secrets: dict[str, bytes], items: list[tuple[str, str, str]]) -> None:
    for owner, text, place in items:
        nonce, secret, associated = os.urandom(NONCE_BYTES), secrets[owner], place.encode()
        sealed = AESGCM(secret).encrypt(nonce, text.encode(), associated)
        assert AESGCM(secret).decrypt(nonce, sealed, associated).decode() == text


def core_rate(work: Callable[[], object], count: int) -> Run:
    """Work on `count` items as a variant whose value is items per second of CPU time."""

    def run() -> float:
        start = time.process_time()
        work()
        return count / (time.process_time() - start)

    return run


def benchmark() -> Benchmark:
    items, keys = work(), MemoryKeys()
    ring = KeyRing(keys)
    ring.ensure(owner for owner, _, _ in items)
    secrets = {owner: key.secret for owner, _, _ in items if (key := keys.current(owner))}
    return Benchmark(
        name="sealing",
        unit="texts/s/core",
        variants={
            "pawl": core_rate(lambda: through_ring(ring, items), COUNT),
            "bare AES-256-GCM": core_rate(lambda: through_aead(secrets, items), COUNT),
        },
        targets=[Target("pawl", at_least=20_000), Target("pawl", peer="bare AES-256-GCM", at_least=0.5)],
        libraries=["cryptography"],
    )


if __name__ == "__main__":
    sys.exit(main(benchmark()))
