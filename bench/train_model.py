"""What `bench/train.py` trains on: a pipeline of FLUX Fill's shape with random weights, and drawn scenes."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Shape:
    """Sizes of the pipeline. FLUX.1 Fill itself: 24 heads of 128, 19 double and 38 single blocks, a T5 of 24 layers of
    4096, an autoencoder of (128, 256, 512, 512)."""

    heads: int
    head_dim: int
    axes: tuple[int, int, int]
    double: int
    single: int
    text_dim: int
    text_layers: int
    text_tokens: int
    clip_dim: int
    clip_layers: int
    vae: tuple[int, ...]
    side: int


LARGE = Shape(12, 128, (16, 56, 56), 1, 4, 1024, 8, 32, 512, 6, (104, 208, 416, 416), 128)
"""The largest debug backbone. Its work is divided as Stable Diffusion 1.5's is at 512 px: the three encodings of a pair
cost 0.64 of what the denoiser's forwards and backwards do."""
LIGHT = Shape(12, 128, (16, 56, 56), 1, 4, 1024, 8, 32, 512, 6, (32, 64, 128, 128), 128)
"""The same with a thin autoencoder: encodings are a sixteenth of that, between SDXL's share and FLUX's at 512 px."""
QUICK = Shape(6, 64, (8, 28, 28), 1, 2, 256, 2, 32, 128, 2, (16, 32, 64, 64), 128)


def build(folder: Path, shape: Shape) -> None:
    """Save the pipeline in diffusers format."""
    import torch
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxFillPipeline, FluxTransformer2DModel
    from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

    from trainer.backbones.debug.parts import clip_tokenizer, stir, word_tokenizer

    torch.manual_seed(0)
    clip_words, words = clip_tokenizer(), word_tokenizer()
    words.model_max_length = shape.text_tokens
    levels = len(shape.vae)
    transformer = FluxTransformer2DModel(
        in_channels=2 * 64 + 4 * 4 ** (levels - 1), out_channels=64, num_layers=shape.double,
        num_single_layers=shape.single, attention_head_dim=shape.head_dim, num_attention_heads=shape.heads,
        joint_attention_dim=shape.text_dim, pooled_projection_dim=shape.clip_dim, guidance_embeds=True,
        axes_dims_rope=shape.axes,
    )  # fmt: skip
    stir(transformer, 1, 0.01)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels, up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=shape.vae, layers_per_block=2, latent_channels=16, norm_num_groups=8,
        scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False,
    )  # fmt: skip
    clip = CLIPTextConfig(
        vocab_size=len(clip_words), hidden_size=shape.clip_dim, intermediate_size=4 * shape.clip_dim,
        num_hidden_layers=shape.clip_layers, num_attention_heads=8, max_position_embeddings=77,
        projection_dim=shape.clip_dim, bos_token_id=clip_words.bos_token_id, eos_token_id=clip_words.eos_token_id,
        pad_token_id=clip_words.pad_token_id,
    )  # fmt: skip
    t5 = T5Config(
        vocab_size=32128, d_model=shape.text_dim, d_kv=64, d_ff=5 * shape.text_dim // 2, num_layers=shape.text_layers,
        num_heads=shape.text_dim // 64, dropout_rate=0.0, feed_forward_proj="gated-gelu", is_encoder_decoder=False,
        use_cache=False, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    FluxFillPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True), vae=vae,
        text_encoder=CLIPTextModel(clip), tokenizer=clip_words, text_encoder_2=T5EncoderModel(t5), tokenizer_2=words,
        transformer=transformer,
    ).save_pretrained(folder)  # fmt: skip


def draw_snapshot(folder: Path, pairs: int, side: int) -> None:
    """A snapshot of drawn pairs: two ramps with noise, a square subject."""
    from trainer.contract.snapshot import ConditionInput, PairInput, WinnerInput, write_snapshot

    random = np.random.default_rng(0)

    def png(pixels: np.ndarray) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, format="PNG")
        return buffer.getvalue()

    def scene(low: int, high: int) -> bytes:
        ramp = np.linspace(low, high, side)[:, None, None]
        return png(ramp + random.normal(0, 8, (side, side, 3)))

    conditions, rows, winners = [], [], []
    for index in range(pairs):
        mask = np.full((side, side), 255)
        left = side // 8 + index * 7 % (side // 3)
        mask[side // 3 : 3 * side // 4, left : left + side // 3] = 0
        name = f"c{index:03d}"
        image = png(np.full((side, side, 3), 60 + 5 * index % 150))
        conditions.append(ConditionInput(name, f"s{index:03d}", "train", "a red car on the street", image, png(mask)))
        win = scene(220, 40)
        rows.append(PairInput(f"p{index:03d}", name, win, scene(40, 220), f"w{index}", f"l{index}"))
        winners.append(WinnerInput(name, win, f"w{index}"))
    write_snapshot(folder, name="bench", rules={}, conditions=conditions, pairs=rows, winners=winners)


def parameters(folder: Path) -> dict[str, int]:
    """Numbers of parameters by part, from the files' headers."""
    from trainer.backbones.families import resolve_base
    from trainer.backbones.sizes import sizes_from_files

    sizes: dict[str, Any] = sizes_from_files(resolve_base(str(folder)), 1, "attention")
    return {name: size for name, size in sizes.items() if name != "adapter"}
