"""Where to compute and with what numbers: a pure choice from what the machine says it can do."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from pawl_trainer.spec import Precision


@dataclass(frozen=True, slots=True)
class Device:
    """`name` is a torch device type; `bf16` says whether matrix products are computed in bfloat16."""

    name: str
    bf16: bool

    @property
    def sentence(self) -> str:
        """For people: "cpu, bf16"."""
        return f"{self.name}, {'bf16' if self.bf16 else 'fp32'}"


def choose(precision: Precision, *, cuda: bool, cuda_bf16: bool, cpu: Mapping[str, object]) -> Device:
    """CUDA where there is one. bf16 is 1.7 times as fast as fp32 on a CPU that has it, and slower where it is emulated.

    `cpu` is what torch.cpu.get_capabilities() says.
    """
    able = cuda_bf16 if cuda else bool(cpu.get("avx512_bf16") or cpu.get("amx_bf16") or cpu.get("bf16"))
    return Device("cuda" if cuda else "cpu", precision == "bf16" or (precision == "auto" and able))


def detect(precision: Precision) -> Device:
    """The choice for this machine."""
    cuda = torch.cuda.is_available()
    cuda_bf16 = cuda and torch.cuda.is_bf16_supported(including_emulation=False)
    return choose(precision, cuda=cuda, cuda_bf16=cuda_bf16, cpu=torch.cpu.get_capabilities())
