"""Qwen-Image-Edit in small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trainer.backbones.debug.parts import HEADS, TEXT_DIM, WORDS, seeded, stir

SPECIAL = ("endoftext", "im_start", "im_end", "vision_start", "vision_end", "image_pad", "video_pad")
LATENTS_MEAN = [0.1, -0.2, 0.3, 0.0]
LATENTS_STD = [1.1, 0.9, 1.3, 1.0]


def build(folder: Path) -> None:
    """Save the pipeline; latents have 4 channels and a quarter of the side."""
    from diffusers import (
        AutoencoderKLQwenImage,
        FlowMatchEulerDiscreteScheduler,
        QwenImageEditPipeline,
        QwenImageTransformer2DModel,
    )
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    from trainer.backbones.qwen_image_edit import ImagePromptProcessor

    channels = len(LATENTS_MEAN)
    vae = seeded(1, lambda: AutoencoderKLQwenImage(
        base_dim=8, z_dim=channels, dim_mult=[1, 2, 2], num_res_blocks=1, temperal_downsample=[False, True],
        latents_mean=LATENTS_MEAN, latents_std=LATENTS_STD,
    ))  # fmt: skip
    transformer = seeded(2, lambda: QwenImageTransformer2DModel(
        in_channels=4 * channels, out_channels=channels, num_layers=2, attention_head_dim=16,
        num_attention_heads=HEADS, joint_attention_dim=TEXT_DIM, axes_dims_rope=(4, 6, 6),
    ))  # fmt: skip
    stir(transformer, 3)
    tokenizer = _tokenizer()
    pipeline = QwenImageEditPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True, max_shift=0.9, max_image_seq_len=8192, shift_terminal=0.02
        ),
        vae=vae,
        text_encoder=_text_encoder(tokenizer),
        tokenizer=tokenizer,
        processor=ImagePromptProcessor(Qwen2VLImageProcessorPil(), tokenizer),
        transformer=transformer,
    )
    pipeline.register_to_config(processor=("transformers", "Qwen2VLProcessor"))
    pipeline.save_pretrained(folder)


def _tokenizer() -> Any:
    """Qwen's tokenizer, in which each word of the edit template is a token, as in earnest."""
    from diffusers import QwenImageEditPipeline
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import Qwen2Tokenizer

    bytewise = Tokenizer(models.BPE())
    bytewise.pre_tokenizer = Qwen2Tokenizer(vocab={}, merges=[]).backend_tokenizer.pre_tokenizer
    template = QwenImageEditPipeline(*[None] * 6).prompt_template_encode
    trainer = trainers.BpeTrainer(
        vocab_size=4096, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    bytewise.train_from_iterator([template, *WORDS, *(f" {word}" for word in WORDS)], trainer)
    learnt = json.loads(bytewise.to_str())["model"]
    return Qwen2Tokenizer(
        vocab=learnt["vocab"],
        merges=[tuple(merge) for merge in learnt["merges"]],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=[f"<|{name}|>" for name in SPECIAL],
    )


def _text_encoder(tokenizer: Any) -> Any:
    """A Qwen2.5-VL of one layer each for seeing and reading; patches of 14 pixels, merged 2x2, as in earnest."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    ids = {name: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in SPECIAL}
    text = {
        "vocab_size": len(tokenizer), "hidden_size": TEXT_DIM, "intermediate_size": 2 * TEXT_DIM,
        "num_hidden_layers": 1, "num_attention_heads": HEADS, "num_key_value_heads": 1,
        "max_position_embeddings": 4096, "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
        "bos_token_id": ids["endoftext"], "eos_token_id": ids["im_end"],
    }  # fmt: skip
    vision = {
        "depth": 1, "hidden_size": 16, "intermediate_size": 32, "num_heads": HEADS, "out_hidden_size": TEXT_DIM,
        "fullatt_block_indexes": [0],
    }  # fmt: skip
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ids["image_pad"],
        video_token_id=ids["video_pad"],
        vision_start_token_id=ids["vision_start"],
        vision_end_token_id=ids["vision_end"],
    )
    return seeded(4, lambda: Qwen2_5_VLForConditionalGeneration(config))
