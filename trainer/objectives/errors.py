"""Region errors, and the regions themselves."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

Reduction = Literal["region_mean", "full_mean", "sum"]
Boundary = Literal["soft", "exclude", "dpo", "sft"]
Pooling = Literal["area", "nearest"]

EMPTY = 1e-6
"""Smallest divisor of a region: an empty region has error 0, not NaN."""


def region_error(prediction: Tensor, target: Tensor, region: Tensor, *, reduction: Reduction = "region_mean") -> Tensor:
    """Squared error of each sample inside a region, in float32.

    `prediction` and `target` are [B, ...] of one shape; `region` in [0, 1] broadcasts to it ([B, 1, h, w] for latents,
    [B, N, 1] or [B, N, C] for tokens). Returns [B]. `region_mean` divides by the region's size, so that it does not
    depend on how much of the image is background; `full_mean` by the whole size; `sum` by nothing.
    """
    weights = region.float().expand_as(prediction).flatten(1)
    squared = (prediction.float() - target.float()).square().flatten(1)
    total = (weights * squared).sum(1)
    if reduction == "region_mean":
        return total / weights.sum(1).clamp_min(EMPTY)
    if reduction == "full_mean":
        return total / squared.shape[1]
    if reduction == "sum":
        return total
    raise ValueError(f"reduction {reduction!r} is none of region_mean, full_mean, sum")


def error_map(prediction: Tensor, target: Tensor) -> Tensor:
    """Squared errors [B,1,h,w] of predictions [B,C,h,w], summed over the channels, in float32."""
    return (prediction.float() - target.float()).square().sum(1, keepdim=True)


def map_error(errors: Tensor, region: Tensor, channels: int, *, reduction: Reduction = "region_mean") -> Tensor:
    """`region_error` [B] of a region [B,1,h,w], from the map [B,1,h,w] that `error_map` made of so many channels."""
    weights = region.float()
    total = (weights * errors).flatten(1).sum(1)
    if reduction == "region_mean":
        return total / (channels * weights.flatten(1).sum(1)).clamp_min(EMPTY)
    if reduction == "full_mean":
        return total / (channels * errors.flatten(1).shape[1])
    if reduction == "sum":
        return total
    raise ValueError(f"reduction {reduction!r} is none of region_mean, full_mean, sum")


def pool_mask(mask: Tensor, height: int, width: int, *, mode: Pooling = "area") -> Tensor:
    """A full-resolution mask [B,1,H,W] (1 = background) on the latent grid [B,1,height,width].

    Area pooling keeps the share of each cell, so that thin structures weaken but do not vanish; nearest takes the pixel
    in each cell's corner.
    """
    return F.interpolate(mask.float(), size=(height, width), mode=mode)


def split_regions(mask: Tensor, boundary: Boundary = "soft") -> tuple[Tensor, Tensor]:
    """Background and foreground weights of a latent mask [B,1,h,w] with 1 = background; both of its shape.

    Cells that the mask cuts (0 < m < 1) are shared by coverage (`soft`), left out (`exclude`), given to the preference
    (`dpo`) or to the inpainting loss (`sft`).
    """
    if boundary == "soft":
        return mask, 1 - mask
    if boundary not in ("exclude", "dpo", "sft"):
        raise ValueError(f"boundary {boundary!r} is none of soft, exclude, dpo, sft")
    background, foreground = (mask >= 1).to(mask.dtype), (mask <= 0).to(mask.dtype)
    between = 1 - background - foreground
    if boundary == "dpo":
        background = background + between
    elif boundary == "sft":
        foreground = foreground + between
    return background, foreground


def to_clean_error(velocity_error: Tensor, t: Tensor) -> Tensor:
    """Error of the clean image from the velocity's, rectified flow: `x0 = x_t - t v`, so `t^2` times it. All [B]."""
    return t.square() * velocity_error


def to_noise_error(velocity_error: Tensor, t: Tensor) -> Tensor:
    """Error of the noise from the velocity's, rectified flow: `eps = x_t + (1-t) v`, so `(1-t)^2` times it. All [B]."""
    return (1 - t).square() * velocity_error
