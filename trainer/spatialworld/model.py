"""Build the SpatialWorld pipeline: a FluxFillPipeline in small, in the ordinary saved format.

Everything has the shape of FLUX.1 Fill: packed 2x2 latents, [noisy | masked latents | mask] as the transformer's input,
two text encoders. Only the sizes differ. The text encoders are random and frozen: the transformer learns the words.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.spatialworld.text import MAX_WORDS, vocabulary

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, FluxFillPipeline, FluxTransformer2DModel

CLIP_LENGTH = 77
VAE_GROUPS = 4


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the pipeline. ``debug`` shrinks the transformer and leaves every interface as it is."""

    latent_channels: int = 16
    vae_channels: tuple[int, ...] = (24, 48, 64)
    heads: int = 6
    head_dim: int = 32
    axes: tuple[int, int, int] = (8, 12, 12)
    double_blocks: int = 1
    single_blocks: int = 5
    text_dim: int = 64
    pooled_dim: int = 64
    shift: float = 3.0

    def to_json(self) -> dict[str, Any]:
        """Plain JSON for the training log."""
        return asdict(self)


DEFAULT = ModelConfig()
LARGE = ModelConfig(heads=12, double_blocks=2, single_blocks=10)
DEBUG = ModelConfig(heads=2, head_dim=16, axes=(4, 6, 6), double_blocks=1, single_blocks=1)


def build_vae(config: ModelConfig, seed: int) -> AutoencoderKL:
    """An untrained autoencoder: 64x64 pixels to 16x16 latents, without attention."""
    import torch
    from diffusers import AutoencoderKL

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        vae = AutoencoderKL(
            in_channels=3,
            out_channels=3,
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=config.vae_channels,
            layers_per_block=1,
            latent_channels=config.latent_channels,
            norm_num_groups=VAE_GROUPS,
            sample_size=64,
            scaling_factor=1.0,
            shift_factor=0.0,
            mid_block_add_attention=False,
            use_quant_conv=False,
            use_post_quant_conv=False,
        )
    make_deterministic(vae)
    return vae


def make_deterministic(vae: AutoencoderKL) -> None:
    """Silence the encoder's variance: sampling its posterior then gives its mode (the variance is exp(-30))."""
    import torch

    channels = vae.config.latent_channels
    with torch.no_grad():
        vae.encoder.conv_out.weight[channels:].zero_()
        vae.encoder.conv_out.bias[channels:].fill_(-30.0)


def build_transformer(config: ModelConfig, seed: int) -> FluxTransformer2DModel:
    """An untrained transformer with Fill's input: noisy and masked latents and the packed full-resolution mask."""
    import torch
    from diffusers import FluxTransformer2DModel

    packed = config.latent_channels * 4
    mask = 4 ** (len(config.vae_channels) - 1) * 4
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return FluxTransformer2DModel(
            patch_size=1,
            in_channels=2 * packed + mask,
            out_channels=packed,
            num_layers=config.double_blocks,
            num_single_layers=config.single_blocks,
            attention_head_dim=config.head_dim,
            num_attention_heads=config.heads,
            joint_attention_dim=config.text_dim,
            pooled_projection_dim=config.pooled_dim,
            guidance_embeds=False,
            axes_dims_rope=config.axes,
        )


def start_as_identity(model: FluxTransformer2DModel, seed: int) -> None:
    """Zero the modulation and the output: blocks start as identities, which trains much faster."""
    import torch

    source = torch.Generator().manual_seed(seed)
    zeroed = [model.norm_out.linear, model.proj_out]
    for block in model.transformer_blocks:
        zeroed += [block.norm1.linear, block.norm1_context.linear]
    zeroed += [block.norm.linear for block in model.single_transformer_blocks]
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and "norm" not in name:
            torch.nn.init.xavier_uniform_(module.weight, generator=source)
            torch.nn.init.zeros_(module.bias)
    for module in zeroed:
        torch.nn.init.zeros_(module.weight)
        torch.nn.init.zeros_(module.bias)


def _clip_tokenizer() -> Any:
    """CLIP's tokenizer over single characters: an alphabet of bytes and no merges."""
    from transformers import CLIPTokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    alphabet = list(bytes_to_unicode().values())
    tokens = alphabet + [letter + "</w>" for letter in alphabet] + ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=[], model_max_length=CLIP_LENGTH)


def _word_tokenizer() -> Any:
    """T5's tokenizer over the world's words; other words become ``<unk>``."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokens = ["<pad>", "</s>", "<unk>", *vocabulary()]
    tokenizer = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=MAX_WORDS
    )


def _text_encoders(config: ModelConfig, seed: int, clip_words: int, eos: int, t5_words: int) -> tuple[Any, Any]:
    import torch
    from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        clip = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=clip_words,
                hidden_size=config.pooled_dim,
                intermediate_size=config.pooled_dim * 2,
                num_hidden_layers=1,
                num_attention_heads=2,
                max_position_embeddings=CLIP_LENGTH,
                projection_dim=config.pooled_dim,
                bos_token_id=eos - 1,
                eos_token_id=eos,
                pad_token_id=eos,
            )
        )
        words = T5EncoderModel(
            T5Config(
                vocab_size=t5_words,
                d_model=config.text_dim,
                d_kv=16,
                d_ff=config.text_dim * 2,
                num_layers=1,
                num_heads=4,
                dropout_rate=0.0,
                feed_forward_proj="gated-gelu",
                is_encoder_decoder=False,
                use_cache=False,
                pad_token_id=0,
                eos_token_id=1,
            )
        )
    return clip.eval().requires_grad_(False), words.eval().requires_grad_(False)


def build_pipeline(seed: int = 0, debug: bool = False, config: ModelConfig | None = None) -> FluxFillPipeline:
    """An untrained pipeline, every weight decided by ``seed``. ``debug`` takes the smallest sizes.

    Call it at 64x64 pixels with ``max_sequence_length=MAX_WORDS``. Shapes: latents [B, 16, 16, 16], packed
    [B, 64, 64]; transformer input [B, 64, 192], text [B, 16, 64], pooled [B, 64].
    """
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxFillPipeline

    config = config or (DEBUG if debug else DEFAULT)
    tokenizer, tokenizer_2 = _clip_tokenizer(), _word_tokenizer()
    clip, words = _text_encoders(config, seed + 1, len(tokenizer), tokenizer.eos_token_id, len(tokenizer_2))
    return FluxFillPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=config.shift),
        vae=build_vae(config, seed + 2).eval(),
        text_encoder=clip,
        tokenizer=tokenizer,
        text_encoder_2=words,
        tokenizer_2=tokenizer_2,
        transformer=build_transformer(config, seed + 3).eval(),
    )


def weights_path() -> Path:
    """The folder of the shipped weights."""
    return Path(__file__).parent / "weights" / "pipeline"
