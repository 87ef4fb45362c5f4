"""Which kernels the model runs on: blocks compiled, attention by the backend that was measured to be the fastest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch._dynamo import config as dynamo
from torch.nn.attention import SDPBackend, sdpa_kernel

from trainer.contract.errors import ConfigError
from trainer.sharding import repeated_blocks

if TYPE_CHECKING:
    from trainer.backbones.protocol import Backbone
    from trainer.contract.config import TrainingConfig
    from trainer.parallel import Processes

ATTENTION = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}
ON_CPU = ("flash", "math")
GRAPHS = 64
"""Graphs of a kind of block: adapter on and off, with gradient and without, each size of image and length of text."""
REPEATS = 3
"""Timed runs of a backend after one that is not counted; the fastest of them counts."""


def compile_blocks(*models: nn.Module | None) -> int:
    """Compile each repeated block where it stands; returns how many. The first step of each shape then takes longer.

    A compiled block rounds where an uncompiled one does. Policy and reference are two graphs, and graphs that keep more
    digits each in their own way would begin a run away from ln 2.
    """
    blocks = [block for model in models if model is not None for block in repeated_blocks(model)]
    dynamo.cache_size_limit = max(dynamo.cache_size_limit, GRAPHS)  # its name in torch 2.6 too
    for block in blocks:
        block.compile(options={"emulate_precision_casts": True})
    return len(blocks)


@dataclass(frozen=True)
class Kernels:
    """The attention backend in use (None: torch's own choice), and what the candidates took, where they were timed."""

    attention: str | None
    seconds: dict[str, float]


@contextmanager
def choose_kernels(
    config: TrainingConfig, backbone: Backbone, kept: str | None, work: Callable[[], object], processes: Processes
) -> Iterator[Kernels]:
    """Set checkpointing up, compile blocks and take an attention backend, which is in force until this ends.

    A resumed run keeps the backend `kept`; `work` is a forward and backward of the run's own shape to be timed. Where
    the backend cannot run something (a mask, a head size), another one does.
    """
    if config.checkpointing:
        backbone.denoiser.enable_gradient_checkpointing()
    if config.compile:
        compile_blocks(backbone.denoiser, backbone.reference_copy())
    name, seconds = kept, {}
    if config.attention != "probe":
        name = config.attention if config.attention in ATTENTION else None
    elif name is None:
        seconds = processes.agree(probe_attention(work, backbone.device))
        name = min(seconds, key=seconds.__getitem__)
    with attention(name) if name else nullcontext():
        yield Kernels(name, seconds)


@contextmanager
def attention(name: str) -> Iterator[None]:
    """Within it attention runs on a backend, or where that cannot, on one that can."""
    order = [ATTENTION[name], SDPBackend.EFFICIENT_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]
    with sdpa_kernel(list(dict.fromkeys(order)) if name != "math" else [SDPBackend.MATH], set_priority=True):
        yield


def probe_attention(work: Callable[[], object], device: torch.device) -> dict[str, float]:
    """Seconds that `work`, a forward and backward of the run's own shape, takes on each backend that can run it.

    One whose memory does not suffice is left out; `work` lets go of the gradients that it left. Raises ConfigError when
    none can run it, OutOfMemoryError when it was for want of memory.
    """
    found: dict[str, float] = {}
    short: torch.OutOfMemoryError | None = None
    for name, backend in ATTENTION.items():
        if device.type == "cpu" and name not in ON_CPU:
            continue
        try:
            with sdpa_kernel([backend]):
                found[name] = min([_timed(work, device) for _ in range(REPEATS + 1)][1:])
        except torch.OutOfMemoryError as error:
            short = error.with_traceback(None)  # its frames hold the activations
        except RuntimeError as error:
            if "kernel" not in str(error).lower():
                raise
        if name not in found and device.type == "cuda":
            torch.cuda.empty_cache()
    if not found and short:
        raise short
    if not found:
        raise ConfigError("no_attention", "No attention backend can run this model: set training.attention=default.")
    return found


def _timed(work: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    begun = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begun
