"""Configs of the public bases that the recipes name, so that a plan needs no network.

Numbers as those models' public configs give them. A base that lies in a folder is read there instead, and its plan is
that folder's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trainer.backbones.families import FAMILIES
from trainer.planning.architecture import Architecture, Part

T5_XXL = 4_762_310_656
CLIP_L = 123_060_480
CLIP_BIG_G = 694_659_840
QWEN_VL_7B = 8_292_166_656

FLOW = Part("diffusers", "FlowMatchEulerDiscreteScheduler", {"use_dynamic_shifting": True})


def _autoencoder(**values: Any) -> Part:
    common = {
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "block_out_channels": [128, 256, 512, 512],
        "layers_per_block": 2,
    }
    return Part("diffusers", "AutoencoderKL", {**common, **values})


def _flow_autoencoder(scaling: float, shift: float) -> Part:
    return _autoencoder(
        latent_channels=16, scaling_factor=scaling, shift_factor=shift, use_quant_conv=False, use_post_quant_conv=False
    )


def _flux(in_channels: int, out_channels: int) -> dict[str, Part]:
    config = {
        "in_channels": in_channels, "out_channels": out_channels, "num_layers": 19, "num_single_layers": 38,
        "attention_head_dim": 128, "num_attention_heads": 24, "joint_attention_dim": 4096, "guidance_embeds": True,
        "pooled_projection_dim": 768, "axes_dims_rope": [16, 56, 56],
    }  # fmt: skip
    return {
        "transformer": Part("diffusers", "FluxTransformer2DModel", config),
        "vae": _flow_autoencoder(0.3611, 0.1159),
        "scheduler": FLOW,
    }


FLUX_TEXT = ({"text_encoder": CLIP_L, "text_encoder_2": T5_XXL}, {"tokenizer": 77, "tokenizer_2": 512})


def flux_fill() -> Architecture:
    return Architecture(FAMILIES["flux_fill"], _flux(384, 64), *FLUX_TEXT)


def flux_controlnet() -> Architecture:
    """FLUX.1-dev with alimama's inpainting ControlNet (beta): six double blocks, 68 packed condition channels."""
    config = {
        "in_channels": 64, "num_layers": 6, "num_single_layers": 0, "attention_head_dim": 128,
        "num_attention_heads": 24, "joint_attention_dim": 4096, "pooled_projection_dim": 768, "guidance_embeds": True,
        "axes_dims_rope": [16, 56, 56], "extra_condition_channels": 4,
    }  # fmt: skip
    parts = _flux(64, 64) | {
        "controlnet": Part("trainer.backbones.flux_controlnet_pipeline", "FluxInpaintControlNet", config)
    }
    return Architecture(FAMILIES["flux_controlnet"], parts, *FLUX_TEXT)


def sd_inpaint() -> Architecture:
    """Stable Diffusion 1.5 inpainting."""
    config = {
        "in_channels": 9, "out_channels": 4, "block_out_channels": [320, 640, 1280, 1280], "cross_attention_dim": 768,
        "attention_head_dim": 8, "layers_per_block": 2, "sample_size": 64,
    }  # fmt: skip
    parts = {
        "unet": Part("diffusers", "UNet2DConditionModel", config),
        "vae": _autoencoder(latent_channels=4, scaling_factor=0.18215),
        "scheduler": Part(
            "diffusers", "DDIMScheduler", {"beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
        ),
    }
    return Architecture(FAMILIES["sd_inpaint"], parts, {"text_encoder": CLIP_L}, {"tokenizer": 77})


def sdxl_inpaint() -> Architecture:
    config = {
        "in_channels": 9, "out_channels": 4, "block_out_channels": [320, 640, 1280], "cross_attention_dim": 2048,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        "attention_head_dim": [5, 10, 20], "transformer_layers_per_block": [1, 2, 10], "use_linear_projection": True,
        "addition_embed_type": "text_time", "addition_time_embed_dim": 256, "sample_size": 128,
        "projection_class_embeddings_input_dim": 2816,
    }  # fmt: skip
    parts = {
        "unet": Part("diffusers", "UNet2DConditionModel", config),
        "vae": _autoencoder(latent_channels=4, scaling_factor=0.13025, force_upcast=True),
        "scheduler": Part("diffusers", "EulerDiscreteScheduler", {"beta_schedule": "scaled_linear"}),
    }
    encoders = {"text_encoder": CLIP_L, "text_encoder_2": CLIP_BIG_G}
    return Architecture(FAMILIES["sdxl_inpaint"], parts, encoders, {"tokenizer": 77, "tokenizer_2": 77})


def sd3_controlnet() -> Architecture:
    """Stable Diffusion 3 medium with alimama's inpainting ControlNet."""
    common = {
        "sample_size": 128, "patch_size": 2, "in_channels": 16, "attention_head_dim": 64, "num_attention_heads": 24,
        "joint_attention_dim": 4096, "caption_projection_dim": 1536, "pooled_projection_dim": 2048, "out_channels": 16,
        "pos_embed_max_size": 192,
    }  # fmt: skip
    parts = {
        "transformer": Part("diffusers", "SD3Transformer2DModel", common | {"num_layers": 24}),
        "controlnet": Part(
            "diffusers", "SD3ControlNetModel", common | {"num_layers": 23, "extra_conditioning_channels": 1}
        ),
        "vae": _flow_autoencoder(1.5305, 0.0609),
        "scheduler": Part("diffusers", "FlowMatchEulerDiscreteScheduler", {"shift": 3.0}),
    }
    encoders = {"text_encoder": CLIP_L, "text_encoder_2": CLIP_BIG_G, "text_encoder_3": T5_XXL}
    return Architecture(
        FAMILIES["sd3_controlnet"], parts, encoders, {"tokenizer": 77, "tokenizer_2": 77, "tokenizer_3": 512}
    )


def qwen_image_edit() -> Architecture:
    """Twenty billion parameters in the transformer alone."""
    config = {
        "patch_size": 2, "in_channels": 64, "out_channels": 16, "num_layers": 60, "attention_head_dim": 128,
        "num_attention_heads": 24, "joint_attention_dim": 3584, "axes_dims_rope": [16, 56, 56],
    }  # fmt: skip
    parts = {
        "transformer": Part("diffusers", "QwenImageTransformer2DModel", config),
        "vae": Part("diffusers", "AutoencoderKLQwenImage", {}),
        "scheduler": FLOW,
    }
    return Architecture(FAMILIES["qwen_image_edit"], parts, {"text_encoder": QWEN_VL_7B}, {"tokenizer": 1024})


KNOWN: dict[str, Callable[[], Architecture]] = {
    "black-forest-labs/FLUX.1-Fill-dev": flux_fill,
    "black-forest-labs/FLUX.1-dev+alimama-creative/FLUX.1-dev-Controlnet-Inpainting-Beta": flux_controlnet,
    "stable-diffusion-v1-5/stable-diffusion-inpainting": sd_inpaint,
    "diffusers/stable-diffusion-xl-1.0-inpainting-0.1": sdxl_inpaint,
    "stabilityai/stable-diffusion-3-medium-diffusers+alimama-creative/SD3-Controlnet-Inpainting": sd3_controlnet,
    "Qwen/Qwen-Image-Edit": qwen_image_edit,
}
"""Bases as recipes name them."""
