"""How an engine is set up. Plain data: the service fills it from its own settings."""

from dataclasses import dataclass
from typing import Literal

# One Gemm kernel serves every batch up to 16 rows, with one order of summation; beyond that rows stop being exact.
MAX_BATCH_LIMIT = 16


ProviderName = Literal["cpu", "cuda"]


@dataclass(frozen=True)
class Provider:
    """Where an engine computes.

    `on_device`: keys, values and adapters lie in memory that ONNX Runtime allocates on the device, and inputs are
    copied there for each step. Without it the graph works on numpy's memory, which only the CPU can.
    """

    name: ProviderName = "cpu"
    device_id: int = 0
    on_device: bool = False


CPU = Provider()


@dataclass(frozen=True)
class EngineSettings:
    """Sizes and threads of one engine.

    `slots` is how many adapters are held at once: live versions + draining ones + one to publish into. `prefill_chunk`
    bounds how long a new prompt can hold up the running answers. `prefix_cache_bytes` holds beginnings of prompts
    (SmolLM2-135M: 46 kB a token); 0 switches that off. A thread that has nothing to do looks for work for
    `spin_microseconds` before it sleeps: longer than the gaps within a step, shorter than those between requests, so
    that idle cores stay idle. Waking it for each operator (0) makes a step take 1.3 to 1.5 times as long.
    """

    threads: int = 2
    spin_microseconds: int = 100
    max_batch: int = 8
    slots: int = 12
    max_waiting: int = 64
    prefill_chunk: int = 64
    prefix_cache_bytes: int = 128 << 20
    provider: Provider = CPU

    def __post_init__(self) -> None:
        if not 1 <= self.max_batch <= MAX_BATCH_LIMIT:
            raise ValueError(f"max_batch must be between 1 and {MAX_BATCH_LIMIT}, not {self.max_batch}")
        if min(self.threads, self.slots, self.prefill_chunk) < 1:
            raise ValueError("threads, slots and prefill_chunk must be at least 1")
        if min(self.max_waiting, self.prefix_cache_bytes, self.spin_microseconds) < 0:
            raise ValueError("max_waiting, prefix_cache_bytes and spin_microseconds must be at least 0")
