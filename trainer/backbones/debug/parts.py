"""Tokenizers, text encoders and an autoencoder small enough to build in a blink; every weight decided by a seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

Part = TypeVar("Part", bound=nn.Module)
CLIP_LENGTH = 77
TEXT_DIM = 32
HEADS = 2
WORDS = ("a", "an", "the", "red", "car", "dog", "boat", "on", "street", "lake", "lawn", "at", "night", "dusk")
LONGEST_TEXT = 16
"""Tokens of the word tokenizer: `max_sequence_length` of the pipelines that have one."""


def seeded(seed: int, make: Callable[[], Part]) -> Part:
    """A frozen module whose random weights depend on the seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make().eval().requires_grad_(False)


@torch.no_grad()
def stir(module: nn.Module, seed: int, scale: float = 0.05) -> None:
    """Add noise to every weight: layers that start at zero would hide mistakes and stop gradients."""
    source = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=source), alpha=scale)


def clip_tokenizer() -> Any:
    """CLIP's tokenizer over single bytes: an alphabet and no merges."""
    from transformers import CLIPTokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    alphabet = list(bytes_to_unicode().values())
    tokens = [*alphabet, *(letter + "</w>" for letter in alphabet), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=[], model_max_length=CLIP_LENGTH)


def word_tokenizer(words: Sequence[str] = WORDS) -> Any:
    """T5's tokenizer over a fixed vocabulary; every other word becomes `<unk>`."""
    from transformers import T5TokenizerFast

    scores = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0), *((f"▁{word}", -2.0) for word in words)]
    return T5TokenizerFast(vocab=scores, extra_ids=0, model_max_length=LONGEST_TEXT)


def clip_encoder(seed: int, tokenizer: Any, *, projected: bool = False, dim: int = TEXT_DIM) -> Any:
    """A two-layer CLIP text model, with the projection to a pooled text where `projected`."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=dim,
        intermediate_size=2 * dim,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        max_position_embeddings=CLIP_LENGTH,
        projection_dim=dim,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    kind = CLIPTextModelWithProjection if projected else CLIPTextModel
    return seeded(seed, lambda: kind(config))


def t5_encoder(seed: int, tokenizer: Any, dim: int = TEXT_DIM) -> Any:
    """A one-layer T5 encoder."""
    from transformers import T5Config, T5EncoderModel

    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=dim,
        d_kv=dim // HEADS,
        d_ff=2 * dim,
        num_layers=1,
        num_heads=HEADS,
        dropout_rate=0.0,
        feed_forward_proj="gated-gelu",
        is_encoder_decoder=False,
        use_cache=False,
        pad_token_id=0,
        eos_token_id=1,
    )
    return seeded(seed, lambda: T5EncoderModel(config))


def autoencoder(
    seed: int, *, channels: int, scaling: float, shift: float | None = None, quant_conv: bool = False, levels: int = 3
) -> AutoencoderKL:
    """An untrained autoencoder that shrinks `2**(levels-1)` times and whose posterior has next to no variance.

    Sampling its posterior, as pipelines do, then gives its mode, which is what training takes.
    """
    from diffusers import AutoencoderKL

    def make() -> AutoencoderKL:
        return AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            block_out_channels=(8, *(16,) * (levels - 1)),
            layers_per_block=1,
            latent_channels=channels,
            norm_num_groups=4,
            sample_size=32,
            scaling_factor=scaling,
            shift_factor=shift,
            mid_block_add_attention=False,
            use_quant_conv=quant_conv,
            use_post_quant_conv=quant_conv,
        )

    vae = seeded(seed, make)
    last: Any = vae.quant_conv if quant_conv else vae.encoder.conv_out
    with torch.no_grad():
        last.weight[channels:].zero_()
        last.bias[channels:].fill_(-30.0)
    return vae
