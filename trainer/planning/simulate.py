"""A step walked through without values: its FLOPs, its operations, the bytes alive at its peak."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trainer.contract.config import RunConfig
from trainer.planning.architecture import Architecture
from trainer.planning.meter import Meter, Operation
from trainer.planning.shadow import shadow_backbone, shadow_mode

if TYPE_CHECKING:
    from trainer.backbones.protocol import Backbone, Tensors

    Rows = tuple[Tensor, Tensor, Tensors, Tensors]


@dataclass(frozen=True)
class Cost:
    """One part of the work: FLOPs, operations, and bytes alive at once beyond weights and inputs."""

    flops: int
    peak: int
    operations: tuple[Operation, ...]


NOTHING = Cost(0, 0, ())


@dataclass(frozen=True)
class Walk:
    """What was counted for the forwards of a micro-batch, and for encoding and decoding one image.

    `inputs` are the bytes of the rows' tensors, `trained` the numbers that are trained, in `trained_tensors` tensors;
    `bytes_by_part` the weights as held in training, of which `denoiser` are the transformer's or UNet's.
    """

    policy: Cost
    reference: Cost
    encode: Cost
    decode: Cost
    inputs: int
    trained: int
    trained_tensors: int
    denoiser: int
    bytes_by_part: dict[str, int]


def walk(
    architecture: Architecture,
    config: RunConfig,
    *,
    height: int,
    width: int,
    words: int,
    policy_rows: int,
    reference_rows: int,
    stored: torch.dtype,
    compute: torch.dtype,
    checkpointing: bool,
) -> Walk:
    """Walk through the forwards of a step, and one image's encoding and decoding, at one image size in pixels."""
    full = config.training.method == "full"
    with shadow_mode():
        backbone = shadow_backbone(architecture, stored, compute, words, full=full)
        # The protocol leaves the pipeline out; every family has one.
        parts = {name: _bytes(part) for name, part in backbone.pipeline.components.items()}  # type: ignore[attr-defined]
        denoiser, lora = _bytes(backbone.denoiser), config.lora
        if full:
            backbone.denoiser.requires_grad_(True)
        else:
            backbone.add_adapter(lora.rank, lora.alpha or lora.rank, lora.targets, 0)
        if checkpointing:
            backbone.denoiser.enable_gradient_checkpointing()
        trained = [parameter for parameter in backbone.denoiser.parameters() if parameter.requires_grad]
        pixels, mask = torch.empty(1, 3, height, width), torch.empty(1, 1, height, width)
        condition: Tensors = {}

        def encode() -> None:
            condition.update(backbone.encode_condition(pixels, mask))

        encoding = _measured(encode)
        latents = torch.empty(1, *backbone.latent_shape(height, width))
        decoding = _measured(lambda: backbone.decode(latents))

        def rows(count: int) -> Rows:
            text = backbone.encode_text([""] * count, torch.empty(count, 3, height, width))
            repeated = {name: value.expand(count, *value.shape[1:]).clone() for name, value in condition.items()}
            return latents.expand(count, -1, -1, -1).clone(), torch.empty(count), repeated, text

        def train() -> None:
            backbone.predict(*with_residuals(backbone, given)).square().sum().backward()

        given = rows(policy_rows)
        policy = _measured(train)
        known = with_residuals(backbone, rows(reference_rows)) if reference_rows else None
        off = nullcontext() if full else backbone.reference()
        with torch.no_grad(), off:
            reference = _measured(lambda: backbone.predict(*known)) if known else NOTHING
        sizes = [value for each in given for value in (each.values() if isinstance(each, dict) else [each])]
        return Walk(
            policy, reference, encoding, decoding,
            inputs=sum(value.nbytes for value in sizes if isinstance(value, Tensor)),
            trained=sum(parameter.numel() for parameter in trained),
            trained_tensors=len(trained),
            denoiser=denoiser,
            bytes_by_part={name: size for name, size in parts.items() if size},
        )  # fmt: skip


def with_residuals(backbone: Backbone, rows: Rows) -> Rows:
    """The rows with what a ControlNet adds to policy and reference alike, run once for both."""
    noisy, t, condition, text = rows
    return noisy, t, condition | backbone.residuals(noisy, t, condition, text), text


def _measured(run: Callable[[], object]) -> Cost:
    with Meter() as meter:
        run()
    return Cost(meter.flops, meter.peak, tuple(meter.operations))


def _bytes(part: object) -> int:
    if not isinstance(part, torch.nn.Module):
        return 0
    return sum(value.nbytes for value in (*part.parameters(), *part.buffers()))
