"""Sample backgrounds for conditions in batches: the numbers of ``FluxFillPipeline.__call__``, without its overhead."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch

from trainer.spatialworld.packing import image_ids, pack, pack_mask, unpack
from trainer.spatialworld.text import MAX_WORDS
from trainer.spatialworld.vae_training import to_images, to_tensor

if TYPE_CHECKING:
    from diffusers import FluxFillPipeline

    from trainer.spatialworld.scenes import Condition

STEPS = 16
"""Euler steps of the measures and galleries."""


def sigmas(steps: int, shift: float) -> list[float]:
    """The noise levels of FlowMatchEulerDiscreteScheduler as FluxFillPipeline sets it, with the final 0."""
    linear = np.linspace(1.0, 1.0 / steps, steps)
    shifted = shift * linear / (1 + (shift - 1) * linear)
    return [*(float(value) for value in shifted), 0.0]


def noise_for(seeds: Sequence[int], channels: int, side: int) -> torch.Tensor:
    """One latent noise [C, side, side] a seed, stacked: the same whatever else is in the batch."""
    return torch.stack(
        [torch.randn(channels, side, side, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    )


def sample(
    pipeline: FluxFillPipeline,
    conditions: Sequence[Condition],
    seeds: Sequence[int],
    steps: int = STEPS,
    batch: int = 64,
    paste: bool = True,
) -> np.ndarray:
    """Generate one image a condition: uint8 [N, 64, 64, 3]. ``paste`` puts the true subject back."""
    images = [
        _sample_batch(pipeline, conditions[start : start + batch], seeds[start : start + batch], steps)
        for start in range(0, len(conditions), batch)
    ]
    result = np.concatenate(images)
    if paste:
        for image, condition in zip(result, conditions, strict=True):
            image[condition.foreground] = condition.image[condition.foreground]
    return result


@torch.no_grad()
def _sample_batch(
    pipeline: FluxFillPipeline, conditions: Sequence[Condition], seeds: Sequence[int], steps: int
) -> np.ndarray:
    vae, factor = pipeline.vae, pipeline.vae_scale_factor
    canvas = to_tensor(np.stack([condition.image for condition in conditions]))
    mask = torch.from_numpy(np.stack([condition.mask for condition in conditions]) > 127).float()
    canvas = canvas * (1 - mask[:, None])
    masked = (vae.encode(canvas).latent_dist.mode() - vae.config.shift_factor) * vae.config.scaling_factor
    side = masked.shape[-1]
    known = torch.cat([pack(masked), pack_mask(mask, factor)], dim=-1)
    prompts = [condition.prompt for condition in conditions]
    text, pooled, txt_ids = pipeline.encode_prompt(prompts, None, max_sequence_length=MAX_WORDS)
    state = pack(noise_for(seeds, vae.config.latent_channels, side))
    levels = sigmas(steps, pipeline.scheduler.config.shift)
    for level, following in pairwise(levels):
        velocity = pipeline.transformer(
            hidden_states=torch.cat([state, known], dim=-1),
            encoder_hidden_states=text,
            pooled_projections=pooled,
            timestep=torch.full((len(prompts),), level),
            img_ids=image_ids(side, side),
            txt_ids=txt_ids,
            return_dict=False,
        )[0]
        state = state + (following - level) * velocity
    latents = unpack(state, side, side) / vae.config.scaling_factor + vae.config.shift_factor
    return to_images(vae.decode(latents).sample)
