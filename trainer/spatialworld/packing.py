"""Flux Fill's packing: 2x2 latents (and the full-resolution mask) become tokens. Same order as diffusers."""

from __future__ import annotations

import torch


def pack(latents: torch.Tensor) -> torch.Tensor:
    """[B, C, h, w] to tokens [B, h/2 * w/2, 4C]."""
    b, c, h, w = latents.shape
    cells = latents.view(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return cells.reshape(b, (h // 2) * (w // 2), c * 4)


def unpack(tokens: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Tokens [B, h/2 * w/2, 4C] to [B, C, h, w] for latents of ``height`` and ``width``."""
    b, _, c = tokens.shape
    cells = tokens.view(b, height // 2, width // 2, c // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return cells.reshape(b, c // 4, height, width)


def pack_mask(mask: torch.Tensor, factor: int) -> torch.Tensor:
    """A full-resolution mask [B, H, W] in [0, 1] to tokens [B, N, 4 * factor**2]."""
    b, height, width = mask.shape
    cells = mask.view(b, height // factor, factor, width // factor, factor).permute(0, 2, 4, 1, 3)
    return pack(cells.reshape(b, factor * factor, height // factor, width // factor))


def image_ids(height: int, width: int) -> torch.Tensor:
    """Position ids [h/2 * w/2, 3] = (0, row, column) of the packed latents."""
    ids = torch.zeros(height // 2, width // 2, 3)
    ids[..., 1] += torch.arange(height // 2)[:, None]
    ids[..., 2] += torch.arange(width // 2)[None, :]
    return ids.reshape(-1, 3)
