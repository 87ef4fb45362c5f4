"""The machine a run is planned for: its memory, and how fast it is at what training does most."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import psutil
import torch
from torch import nn

from trainer.backbones.products import multiply_fast
from trainer.planning.meter import Meter, Operation

GIB = 2**30
CARDS = (24, 48, 80, 140)
"""Memory in GB of the cards that recipes are fitted to."""
USABLE = 0.92
"""Share of a device's memory that a plan fills: the rest is the driver's, and lost between allocations."""


FEWEST_RUNS = 4
"""Timings of each thing at least: the first ones touch memory and wake threads."""


@dataclass(frozen=True, slots=True)
class Machine:
    """`memory` bytes of the device that trains, `host` bytes of the computer; on a CPU both are the same memory."""

    device: str
    name: str
    memory: int
    host: int

    @property
    def is_gpu(self) -> bool:
        return self.device == "cuda"


@dataclass(frozen=True, slots=True)
class Rates:
    """Measured speed: FLOP/s of a matrix product, bytes/s of a copy, seconds that any operation costs at least."""

    flops: float
    bytes: float
    overhead: float

    def seconds(self, operations: Iterable[Operation]) -> float:
        """Time of a list of operations, each bound by arithmetic or by memory (a roofline)."""
        return sum(self.overhead + max(one.flops / self.flops, one.moved / self.bytes) for one in operations)


def this_machine() -> Machine:
    """The GPU that torch would take, else this computer's memory as far as it is free."""
    host = psutil.virtual_memory().available
    if torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info()
        return Machine("cuda", torch.cuda.get_device_name(), int(free), host)
    threads = torch.get_num_threads()
    return Machine("cpu", f"this computer's CPU ({threads} thread{'s' * (threads > 1)})", host, host)


def card(gigabytes: int) -> Machine:
    """A GPU of so many GB, in a computer whose memory does not limit."""
    return Machine("cuda", f"{gigabytes} GB card", gigabytes * 10**9, 2**50)


def measure_rates(rows: int, width: int, dtype: torch.dtype, device: str) -> Rates:
    """Time a linear layer [width, width] on rows, a copy and a stack of tiny layers on this machine; about 0.2 s."""
    left = torch.randn(rows, width, device=device).to(dtype)
    layer = nn.Sequential(nn.Linear(width, width, bias=False).requires_grad_(False).to(device, dtype))
    multiply_fast(layer)
    big = torch.empty(2**23, dtype=torch.float32, device=device)
    out, small = torch.empty_like(big), torch.randn(2, 8, device=device)
    layers = [part for _ in range(8) for part in (nn.Linear(8, 8), nn.LayerNorm(8), nn.GELU())]
    stack = nn.Sequential(*layers).to(device)
    product = _best(lambda: layer(left), device)
    copy = _best(lambda: out.copy_(big), device)
    with Meter() as meter:
        stack(small).sum().backward()
    tiny = _best(lambda: stack(small).sum().backward(), device) / len(meter.operations)
    return Rates(2 * rows * width * width / product, 2 * big.nbytes / copy, tiny)


def _best(run: Callable[[], object], device: str, seconds: float = 0.05) -> float:
    best, begun, runs = float("inf"), time.perf_counter(), 0
    while runs < FEWEST_RUNS or time.perf_counter() - begun < seconds:
        runs += 1
        start = time.perf_counter()
        run()
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return best
