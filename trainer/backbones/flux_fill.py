"""FLUX.1 Fill and every pipeline of its shape.

The transformer's input is [noisy latents | masked latents | mask], each packed from 2x2 latent cells into tokens; the
mask keeps full resolution (its pixels are unshuffled into channels). Rectified flow: the timestep is sigma, the
target noise - clean. The layout is that of diffusers' FluxFillPipeline, whose packing is called here.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from diffusers import FluxFillPipeline
from diffusers.pipelines.flux.pipeline_flux_fill import calculate_shift, retrieve_timesteps
from peft import LoraConfig, get_peft_model_state_dict
from torch import Tensor, nn

from trainer.backbones.layers import select_layers
from trainer.contract.checkpoint import LORA_FILE
from trainer.contract.errors import ModelError

if TYPE_CHECKING:
    from trainer.backbones.protocol import Tensors

POLICY = "policy"
FROZEN = "frozen"
LONGEST_TEXT = 512


class FluxFillBackbone:
    """A FluxFillPipeline behind the protocol; see `trainer.backbones.protocol.Backbone` for the methods' shapes."""

    def __init__(
        self, pipeline: FluxFillPipeline, device: torch.device | str = "cpu", compute: torch.dtype = torch.float32
    ) -> None:
        self.pipeline = pipeline
        self.device = torch.device(device)
        self._autocast = self.device.type == "cpu" and compute == torch.bfloat16
        self.transformer = pipeline.transformer.to(self.device).eval().requires_grad_(False)
        self.vae = pipeline.vae.to(self.device).eval().requires_grad_(False)
        for encoder in (pipeline.text_encoder, pipeline.text_encoder_2):
            encoder.to(self.device).eval().requires_grad_(False)
        self.scale: int = pipeline.vae_scale_factor
        self.pixel_multiple = self.scale * 2
        self.channels = int(pipeline.vae.config.latent_channels)
        self._continued = False
        if self._autocast:
            from trainer.spatialworld.attention import MixedPrecisionAttention

            self.transformer.set_attn_processor(MixedPrecisionAttention())
        self._text_length = min(LONGEST_TEXT, int(pipeline.tokenizer_2.model_max_length))

    # --- encoding -------------------------------------------------------------------------------------------------

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        return self.channels, height // self.scale, width // self.scale

    @torch.no_grad()
    def encode_text(self, prompts: Sequence[str]) -> Tensors:
        embeds, pooled, _ids = self.pipeline.encode_prompt(
            prompt=list(prompts), device=self.device, max_sequence_length=self._text_length
        )
        return {"embeds": embeds, "pooled": pooled}

    @torch.no_grad()
    def encode_images(self, pixels: Tensor) -> Tensor:
        config = self.vae.config
        mode = self.vae.encode(pixels.to(self.device, self.vae.dtype)).latent_dist.mode()
        return (mode.float() - config.shift_factor) * config.scaling_factor

    @torch.no_grad()
    def encode_condition(self, pixels: Tensor, mask: Tensor) -> Tensors:
        mask = (mask.to(self.device) >= 0.5).float()
        masked = self.encode_images(pixels.to(self.device) * (1 - mask))
        unshuffled = nn.functional.pixel_unshuffle(mask, self.scale)
        return {"tokens": torch.cat((self._pack(masked), self._pack(unshuffled)), dim=-1)}

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        config = self.vae.config
        unscaled = latents.to(self.device) / config.scaling_factor + config.shift_factor
        return self.vae.decode(unscaled.to(self.vae.dtype), return_dict=False)[0].float()

    def drop_text_encoders(self) -> None:
        self.pipeline.text_encoder = None
        self.pipeline.text_encoder_2 = None

    def _pack(self, cells: Tensor) -> Tensor:
        batch, channels, height, width = cells.shape
        return self.pipeline._pack_latents(cells, batch, channels, height, width)

    # --- flow and prediction --------------------------------------------------------------------------------------

    def noisy(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        t = t.view(-1, 1, 1, 1)
        return (1 - t) * clean + t * noise

    def target(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return noise - clean

    def predict(self, noisy: Tensor, t: Tensor, condition: Tensors, text: Tensors, guidance: float = 1.0) -> Tensor:
        batch, _, height, width = noisy.shape
        dtype = self.transformer.dtype
        hidden = torch.cat((self._pack(noisy).to(dtype), condition["tokens"].to(dtype)), dim=-1)
        embedded = self.transformer.config.guidance_embeds
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._autocast):
            tokens = self.transformer(
                hidden_states=hidden,
                timestep=t.to(dtype),
                guidance=torch.full((batch,), guidance, device=self.device) if embedded else None,
                pooled_projections=text["pooled"].to(dtype),
                encoder_hidden_states=text["embeds"].to(dtype),
                txt_ids=torch.zeros(text["embeds"].shape[1], 3, device=self.device, dtype=dtype),
                img_ids=self.pipeline._prepare_latent_image_ids(batch, height // 2, width // 2, self.device, dtype),
                return_dict=False,
            )[0]
        return self.pipeline._unpack_latents(tokens, height * self.scale, width * self.scale, self.scale).float()

    @torch.no_grad()
    def sample(self, noise: Tensor, condition: Tensors, text: Tensors, *, steps: int, guidance: float) -> Tensor:
        scheduler = self.pipeline.scheduler
        config = scheduler.config
        shift = calculate_shift(
            (noise.shape[2] // 2) * (noise.shape[3] // 2),
            config.get("base_image_seq_len", 256),
            config.get("max_image_seq_len", 4096),
            config.get("base_shift", 0.5),
            config.get("max_shift", 1.15),
        )
        sigmas = np.linspace(1.0, 1 / steps, steps)
        timesteps, _ = retrieve_timesteps(scheduler, steps, self.device, sigmas=sigmas, mu=shift)
        latents = noise.to(self.device, torch.float32)
        for timestep in timesteps:
            t = timestep.float().expand(len(latents)) / scheduler.config.num_train_timesteps
            velocity = self.predict(latents, t, condition, text, guidance)
            latents = scheduler.step(velocity, timestep, latents, return_dict=False)[0]
        return latents

    # --- the adapter ----------------------------------------------------------------------------------------------

    def linear_layers(self, targets: str) -> list[str]:
        """Full names of the transformer's linear layers that `targets` (all, attention, attention_mlp) means."""
        named = self.transformer.named_modules()
        return select_layers((name for name, module in named if isinstance(module, nn.Linear)), targets)

    def add_adapter(self, rank: int, alpha: float, targets: str, seed: int) -> None:
        layers = self.linear_layers(targets)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules=layers)
            self.transformer.add_adapter(config, POLICY)
        self._train_policy()

    def continue_adapter(self, path: Path) -> None:
        self._load(path, FROZEN)
        self._load(path, POLICY)
        self._continued = True
        self.transformer.set_adapter(POLICY)
        self._train_policy()

    def load_adapter(self, path: Path, scale: float = 1.0) -> None:
        self._load(path, POLICY)
        self.transformer.set_adapters([POLICY], [scale])

    def _load(self, path: Path, name: str) -> None:
        file = path / LORA_FILE if path.is_dir() else path
        if not file.is_file():
            raise ModelError("adapter_missing", f"There is no adapter at {path}: {LORA_FILE} is missing.")
        try:
            with warnings.catch_warnings():  # a second adapter is what is wanted here
                warnings.filterwarnings("ignore", message="Already found a `peft_config` attribute")
                self.pipeline.load_lora_weights(str(file.parent), weight_name=file.name, adapter_name=name)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise ModelError("adapter_unloadable", f"The adapter {path} does not fit this model: {error}") from error

    def _train_policy(self) -> None:
        for name, parameter in self.transformer.named_parameters():
            trained = f".{POLICY}." in name
            parameter.requires_grad_(trained)
            if trained:
                parameter.data = parameter.data.float()

    def trainable(self) -> dict[str, nn.Parameter]:
        named = self.transformer.named_parameters()
        return {name: parameter for name, parameter in named if f".{POLICY}." in name}

    @contextmanager
    def reference(self) -> Iterator[None]:
        if self._continued:
            self.transformer.set_adapter(FROZEN)
        else:
            self.transformer.disable_adapters()
        try:
            yield
        finally:
            if self._continued:
                self.transformer.set_adapter(POLICY)
            else:
                self.transformer.enable_adapters()

    def export_adapter(self, folder: Path) -> None:
        """Write the LoRA with alpha/rank folded into its second factor, so that no loader has to know alpha."""
        config = self.transformer.peft_config[POLICY]
        weights = {}
        for name, value in get_peft_model_state_dict(self.transformer, adapter_name=POLICY).items():
            value = value.detach().float().cpu()
            if ".lora_B." in name:
                value = value * _scaling(config, name)
            weights[name] = value.contiguous()
        folder.mkdir(parents=True, exist_ok=True)
        FluxFillPipeline.save_lora_weights(folder, transformer_lora_layers=weights)

    def sizes(self) -> dict[str, int]:
        parts: dict[str, Any] = {
            "transformer": self.transformer,
            "vae": self.vae,
            "text_encoder": self.pipeline.text_encoder,
            "text_encoder_2": self.pipeline.text_encoder_2,
        }
        adapter = sum(parameter.numel() for parameter in self.trainable().values())
        sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items() if part is not None}
        sizes["transformer"] -= adapter
        return {**sizes, "adapter": adapter}


def _scaling(config: LoraConfig, name: str) -> float:
    layer = name.split(".lora_B.")[0]
    rank = next((r for key, r in config.rank_pattern.items() if layer.endswith(key)), config.r)
    alpha = next((a for key, a in config.alpha_pattern.items() if layer.endswith(key)), config.lora_alpha)
    return alpha / rank
