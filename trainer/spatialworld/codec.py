"""The encoder of SpatialWorld's autoencoder, set by hand so that it is exactly linear.

Latents are the leading principal components of 4x4 pixel blocks, partly whitened: smooth, of known meaning, and the
best linear code of their size. An ``AutoencoderKL`` encoder can hold such a map exactly: residual branches are zero,
strided convolutions move pixels to channels, a 1x1 shortcut projects. Its last group normalisation is made harmless by
a pair of large constant channels in each group, which fixes the variance, and its SiLU by carrying every component
with both signs: silu(a) - silu(-a) = a. Only the decoder needs training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from trainer.spatialworld.model import VAE_GROUPS, make_deterministic

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

BLOCK = 4
WHITENING = 0.3
"""Component i is scaled by its variance to the power of minus this: 0.5 would make all equally strong."""
RAW_SCALE, RAW_SHIFT = 2.0, 0.5
"""Raw latents are normalised ones times this plus that: the pipeline's scaling and shift factors undo it."""
ANCHOR = 300.0
"""The constant that pins a group's variance; the relative error it leaves is about 1e-4."""


def blocks(images: np.ndarray) -> np.ndarray:
    """uint8 [N, 64, 64, 3] to float32 [N, 16, 16, 48] in [-1, 1], in the order of two pixel-to-channel steps."""
    n, side = images.shape[0], images.shape[1] // BLOCK
    parts = images.reshape(n, side, 2, 2, side, 2, 2, 3).transpose(0, 1, 4, 2, 5, 3, 6, 7)
    return np.asarray(parts.reshape(n, side, side, 48), dtype=np.float32) / 127.5 - 1.0


def fit(images: np.ndarray, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean [48] and projection [48, channels] whose latents have unit variance on average over the channels."""
    data = blocks(images).reshape(-1, 48).astype(np.float64)
    mean = data.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov((data - mean).T))
    values, vectors = values[::-1][:channels], vectors[:, ::-1][:, :channels]
    vectors = vectors * np.where(vectors.sum(axis=0) < 0, -1.0, 1.0)
    scale = values**-WHITENING
    scale /= np.sqrt(np.mean(values * scale**2))
    return mean.astype(np.float32), (vectors * scale).astype(np.float32)


@torch.no_grad()
def install_encoder(vae: AutoencoderKL, mean: np.ndarray, projection: np.ndarray) -> None:
    """Write the linear map into the encoder's weights.

    Needs ``vae_channels`` of at least (12, 48, 2 * channels + 8).
    """
    encoder, channels = vae.encoder, projection.shape[1]
    for weight in encoder.parameters():
        weight.zero_()
    for i in range(3):
        encoder.conv_in.weight[i, i, 1, 1] = 1.0
    for level, width in ((0, 3), (1, 12)):
        move = encoder.down_blocks[level].downsamplers[0].conv.weight
        for place in range(4):
            for i in range(width):
                move[place * width + i, i, place // 2, place % 2] = 1.0
    for i in range(12):
        encoder.down_blocks[1].resnets[0].conv_shortcut.weight[i, i, 0, 0] = 1.0
    shortcut = encoder.down_blocks[2].resnets[0].conv_shortcut
    matrix, offset = torch.from_numpy(projection), torch.from_numpy(mean @ projection)
    group, share = encoder.conv_norm_out.num_channels // VAE_GROUPS, channels // VAE_GROUPS
    for i in range(channels):
        plus = (i // share) * group + 2 * (i % share)
        for row, sign in ((plus, 1.0), (plus + 1, -1.0)):
            shortcut.weight[row, :48, 0, 0] = sign * matrix[:, i] * RAW_SCALE
            shortcut.bias[row] = -sign * offset[i] * RAW_SCALE
            encoder.conv_out.weight[i, row, 1, 1] = sign
    for g in range(VAE_GROUPS):
        shortcut.bias[g * group + 2 * share] = ANCHOR
        shortcut.bias[g * group + 2 * share + 1] = -ANCHOR
    encoder.conv_norm_out.weight.fill_(ANCHOR * (2.0 / group) ** 0.5)
    encoder.conv_out.bias[:channels].fill_(RAW_SHIFT)
    make_deterministic(vae)
    vae.register_to_config(scaling_factor=1.0 / RAW_SCALE, shift_factor=RAW_SHIFT)


def linear_map(vae: AutoencoderKL) -> tuple[torch.Tensor, torch.Tensor]:
    """The map to raw latents that ``install_encoder`` wrote: projection [48, channels] and offset [channels]."""
    channels = vae.config.latent_channels
    group, share = vae.encoder.conv_norm_out.num_channels // VAE_GROUPS, channels // VAE_GROUPS
    rows = [(i // share) * group + 2 * (i % share) for i in range(channels)]
    shortcut = vae.encoder.down_blocks[2].resnets[0].conv_shortcut
    return shortcut.weight[rows, :48, 0, 0].T.detach().clone(), shortcut.bias[rows].detach() + RAW_SHIFT


def encode_blocks(images: np.ndarray, projection: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
    """What the encoder gives, by one matrix product: uint8 [N, 64, 64, 3] to raw latents [N, channels, 16, 16]."""
    return (torch.from_numpy(blocks(images)) @ projection + offset).permute(0, 3, 1, 2)
