"""Qwen-Image-Edit.

The condition is a picture to be edited: the subject on its canvas, grey where the background will be. Its latents
follow the noisy ones on the sequence axis, and Qwen2.5-VL reads it together with the prompt. There is no mask channel:
M enters the loss alone. Rectified flow, timestep = sigma; the layout is that of diffusers' QwenImageEditPipeline, whose
packing and prompt encoding are called here.

The pipeline scales every edit picture to about one megapixel; here it keeps the canvas's size, so that its tokens lie
where the generated ones do. At canvases of a megapixel both are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from diffusers import DiffusionPipeline, QwenImageEditPipeline
from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit import calculate_shift, retrieve_timesteps
from PIL import Image
from torch import Tensor, nn
from transformers import Qwen2VLProcessor

from trainer.backbones.flow import RectifiedFlow
from trainer.backbones.pipeline import PipelineBackbone
from trainer.contract.errors import ModelError

if TYPE_CHECKING:
    from trainer.backbones.families import Base
    from trainer.backbones.protocol import Tensors

GREY = 128
LONGEST_TEXT = 256
"""Tokens of a prompt and of what the template puts behind it; embeddings are padded to it, so that they stack."""
NEGATIVE_PROMPT = " "
"""What guidance leads away from, as the model's makers recommend."""


class ImagePromptProcessor(Qwen2VLProcessor):
    """Qwen's processor without its video part, which needs torchvision and is not used for pictures."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None) -> None:
        super().__init__(image_processor, tokenizer, None, chat_template)


def edit_pictures(pixels: Tensor, mask: Tensor) -> Tensor:
    """The pictures to be edited, [B,3,H,W] of 0 to 255 (uint8): grey where the mask [B,1,H,W] is 1 (background)."""
    quantised = ((pixels.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return torch.where(mask >= 0.5, torch.tensor(GREY, dtype=torch.uint8), quantised)


class QwenImageEditBackbone(RectifiedFlow, PipelineBackbone):
    """The pipeline behind the protocol; see `trainer.backbones.protocol.Backbone` for the methods' shapes."""

    family: ClassVar[str] = "qwen_image_edit"
    pipeline_class: ClassVar[type[DiffusionPipeline]] = QwenImageEditPipeline
    patch: ClassVar[int] = 2
    text_sees_image: ClassVar[bool] = True

    def __init__(self, pipeline: Any, device: torch.device | str = "cpu", compute: torch.dtype = torch.float32) -> None:
        super().__init__(pipeline, device, compute)
        config = self.vae_config
        self._channels = int(config.z_dim)
        self._mean = torch.tensor(config.latents_mean, device=self.device).view(1, -1, 1, 1)
        self._std = torch.tensor(config.latents_std, device=self.device).view(1, -1, 1, 1)

    @classmethod
    def open(cls, base: Base, *, revision: str | None, dtype: torch.dtype, **parts: Any) -> DiffusionPipeline:
        if "processor" not in parts:
            parts["processor"] = ImagePromptProcessor.from_pretrained(
                base.path, subfolder="processor", revision=revision or "main"
            )
        return super().open(base, revision=revision, dtype=dtype, **parts)

    # --- encoding -------------------------------------------------------------------------------------------------

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        return self._channels, height // self.scale, width // self.scale

    @torch.no_grad()
    def encode_images(self, pixels: Tensor) -> Tensor:
        frames = pixels.to(self.device, self.vae.dtype).unsqueeze(2)
        mode = self.vae.encode(frames).latent_dist.mode().squeeze(2)
        return (mode.float() - self._mean) / self._std

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        frames = (latents.to(self.device) * self._std + self._mean).unsqueeze(2)
        return self.vae.decode(frames.to(self.vae.dtype), return_dict=False)[0].squeeze(2).float()

    @torch.no_grad()
    def encode_condition(self, pixels: Tensor, mask: Tensor) -> Tensors:
        pictures = edit_pictures(pixels, mask).float() / 127.5 - 1
        return {"tokens": self.pack(self.encode_images(pictures))}

    @torch.no_grad()
    def encode_text(self, prompts: Sequence[str], pixels: Tensor | None = None, mask: Tensor | None = None) -> Tensors:
        """Embeddings of prompts, each read after its condition's picture; `valid` tells them from their padding.

        By causal attention the picture's tokens (the first `prefix`) do not depend on the words behind them, so of the
        negative prompt only what follows them is kept (`negative`). Raises ModelError for a prompt that is too long.
        """
        if pixels is None or mask is None:
            raise ValueError("Qwen-Image-Edit reads the prompt together with the condition's pixels and mask.")
        pictures = [Image.fromarray(each) for each in edit_pictures(pixels, mask).permute(0, 2, 3, 1).cpu().numpy()]
        embeds, valid = self._read(list(prompts), pictures)
        negative, _ = self._read([NEGATIVE_PROMPT] * len(pictures), pictures)
        tail = self.pipeline.prompt_template_encode.partition("{}")[2]
        prefix = negative.shape[1] - len(self.pipeline.tokenizer(NEGATIVE_PROMPT + tail).input_ids)
        spare = prefix + LONGEST_TEXT - embeds.shape[1]
        if spare < 0:
            raise ModelError("prompt_long", f"A prompt is {-spare} tokens too long; {LONGEST_TEXT} are taken.")
        return {
            "embeds": nn.functional.pad(embeds, (0, 0, 0, spare)),
            "valid": nn.functional.pad(valid, (0, spare)),
            "negative": negative[:, prefix:],
            "prefix": torch.full((len(pictures),), prefix, device=self.device),
        }

    def _read(self, prompts: list[str], pictures: list[Image.Image]) -> tuple[Tensor, Tensor]:
        embeds, valid = self.pipeline.encode_prompt(prompts, pictures, self.device)
        if valid is None:
            valid = torch.ones(embeds.shape[:2], device=self.device)
        return embeds, valid.bool()

    def pack(self, cells: Tensor) -> Tensor:
        """Tokens [B, h/2 w/2, 4C] of cells [B,C,h,w]."""
        batch, channels, height, width = cells.shape
        return self.pipeline._pack_latents(cells, batch, channels, height, width)

    def unpack(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """Cells [B,C,h,w] of tokens, in float32."""
        cells = self.pipeline._unpack_latents(tokens, height * self.scale, width * self.scale, self.scale)
        return cells.squeeze(2).float()

    # --- prediction -----------------------------------------------------------------------------------------------

    def predict(self, noisy: Tensor, t: Tensor, condition: Tensors, text: Tensors, guidance: float = 1.0) -> Tensor:
        longest = int(text["valid"].sum(dim=1).max())
        valid = text["valid"][:, :longest]
        tokens = self._tokens(
            noisy, t, condition, text["embeds"][:, :longest], None if valid.all() else valid, guidance
        )
        return self.unpack(tokens, *noisy.shape[2:])

    def _tokens(
        self, noisy: Tensor, t: Tensor, condition: Tensors, embeds: Tensor, valid: Tensor | None, guidance: float
    ) -> Tensor:
        """Predicted tokens [B, h/2 w/2, 4C]; the picture's own tokens are left out."""
        batch, _, height, width = noisy.shape
        dtype, packed = self.denoiser.dtype, self.pack(noisy)
        embedded = self.denoiser.config.guidance_embeds
        with self.autocast():
            tokens = self.denoiser(
                hidden_states=torch.cat((packed.to(dtype), condition["tokens"].to(dtype)), dim=1),
                timestep=t.to(dtype),
                guidance=torch.full((batch,), guidance, device=self.device) if embedded else None,
                encoder_hidden_states=embeds.to(dtype),
                encoder_hidden_states_mask=valid,
                img_shapes=[[(1, height // 2, width // 2)] * 2] * batch,
                return_dict=False,
            )[0]
        return tokens[:, : packed.shape[1]]

    @torch.no_grad()
    def sample(self, noise: Tensor, condition: Tensors, text: Tensors, *, steps: int, guidance: float) -> Tensor:
        """`guidance` above 1 is the pipeline's true guidance: led away from a blank prompt, each token's norm kept."""
        scheduler = self.pipeline.scheduler
        config = scheduler.config
        if steps < 2 and config.get("shift_terminal"):
            raise ModelError("steps_few", "Qwen-Image-Edit's schedule ends above 0, which takes at least 2 steps.")
        shift = calculate_shift(
            (noise.shape[2] // 2) * (noise.shape[3] // 2),
            config.get("base_image_seq_len", 256),
            config.get("max_image_seq_len", 4096),
            config.get("base_shift", 0.5),
            config.get("max_shift", 1.15),
        )
        sigmas = np.linspace(1.0, 1 / steps, steps).tolist()
        timesteps, _ = retrieve_timesteps(scheduler, steps, self.device, sigmas=sigmas, mu=shift)
        blank = torch.cat((text["embeds"][:, : int(text["prefix"][0])], text["negative"]), dim=1)
        latents = noise.to(self.device, torch.float32)
        for timestep in timesteps:
            t = timestep.float().expand(len(latents)) / config.num_train_timesteps
            velocity = self.predict(latents, t, condition, text)
            if guidance > 1:
                wanted = self.pack(velocity)
                unwanted = self._tokens(latents, t, condition, blank, None, 1.0).float()
                led = unwanted + guidance * (wanted - unwanted)
                led = led * (wanted.norm(dim=-1, keepdim=True) / led.norm(dim=-1, keepdim=True))
                velocity = self.unpack(led, *latents.shape[2:])
            latents = scheduler.step(velocity, timestep, latents, return_dict=False)[0]
        return latents
