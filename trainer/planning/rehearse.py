"""A small model's step, timed before the run with random weights on this computer's CPU.

Where a step is thousands of operations of microseconds each, what it takes is Python's and torch's own time around
them, which no rate of arithmetic or memory tells; so it is measured.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trainer.backbones.load import compute_type
from trainer.contract.config import RunConfig
from trainer.planning.architecture import Architecture
from trainer.planning.shadow import shadow_backbone
from trainer.planning.simulate import with_residuals
from trainer.policy import Policy

if TYPE_CHECKING:
    from trainer.planning.simulate import Rows

WARM_UP = 2
REPEATS = 5


@dataclass(frozen=True)
class Rehearsal:
    """Seconds of the policy's forward and backward, of the reference's forward, and of the optimizer's step."""

    policy: float
    reference: float
    update: float


def rehearse(
    architecture: Architecture,
    config: RunConfig,
    *,
    height: int,
    width: int,
    words: int,
    policy_rows: int,
    reference_rows: int,
) -> Rehearsal:
    """Time the parts of a step for images of one size in pixels; torch's random state is left as it was."""
    with torch.random.fork_rng(), threads(config.training.threads):
        compute = compute_type(config.model.dtype, torch.device("cpu"))
        backbone = shadow_backbone(architecture, torch.float32, compute, words)
        lora = config.lora
        if config.training.method == "full":
            backbone.train_fully(copy_reference=bool(reference_rows))
        else:
            backbone.add_adapter(lora.rank, lora.alpha or lora.rank, lora.targets, 0)
        if config.training.checkpointing:
            backbone.denoiser.enable_gradient_checkpointing()
        condition = backbone.encode_condition(torch.zeros(1, 3, height, width), torch.ones(1, 1, height, width))

        def rows(count: int) -> Rows:
            text = backbone.encode_text([""] * count, torch.empty(count, 3, height, width))
            text = {name: _filled(value) for name, value in text.items()}
            repeated = {name: value.expand(count, *value.shape[1:]).clone() for name, value in condition.items()}
            return torch.randn(count, *backbone.latent_shape(height, width)), torch.rand(count), repeated, text

        given, known = rows(policy_rows), with_residuals(backbone, rows(max(1, reference_rows)))
        policy = Policy(config, backbone)

        def untrained() -> None:
            with torch.no_grad(), backbone.reference():
                backbone.predict(*known)

        return Rehearsal(
            policy=_seconds(lambda: backbone.predict(*with_residuals(backbone, given)).square().mean().backward()),
            reference=_seconds(untrained) if reference_rows else 0.0,
            update=_seconds(lambda: policy.update(0, 0.0)),
        )


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Within it torch computes on so many CPU threads; None leaves them."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _filled(value: Any) -> Any:
    """Numbers in a tensor that was made without any, which may be slow or none."""
    return value.normal_() if isinstance(value, Tensor) else value


def _seconds(run: Callable[[], object]) -> float:
    taken = []
    for _ in range(WARM_UP + REPEATS):
        begun = time.perf_counter()
        run()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken[WARM_UP:])
