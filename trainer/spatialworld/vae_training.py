"""SpatialWorld's autoencoder: the encoder is fitted in closed form (``codec``), the decoder is trained against it."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from trainer.spatialworld.codec import encode_blocks, fit, install_encoder, linear_map
from trainer.spatialworld.model import DEFAULT, ModelConfig, build_vae
from trainer.spatialworld.scene_cache import SceneArrays, load_scenes

if TYPE_CHECKING:
    from diffusers import AutoencoderKL


@dataclass(frozen=True)
class VaeTraining:
    """How the decoder is trained. ``noise`` is added to the raw latents (their deviation is 2): a
    sampler's small errors then stay small."""

    steps: int = 3000
    batch: int = 16
    lr: float = 3e-3
    noise: float = 0.12
    gradient_weight: float = 0.5
    canvas_share: float = 0.1
    scenes: int = 8000
    seed: int = 0


def to_tensor(images: np.ndarray) -> torch.Tensor:
    """uint8 [N, H, W, 3] to float32 [N, 3, H, W] in [-1, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def to_images(pixels: torch.Tensor) -> np.ndarray:
    """float [N, 3, H, W] in [-1, 1] to uint8 [N, H, W, 3]."""
    scaled = (pixels.float().clamp(-1, 1) + 1.0) * 127.5
    return np.asarray(scaled.round().permute(0, 2, 3, 1).cpu().numpy(), dtype=np.uint8)


def fitted_vae(scenes: SceneArrays, config: ModelConfig, seed: int) -> AutoencoderKL:
    """An autoencoder with the closed-form encoder (of unit variance) and an untrained decoder."""
    vae = build_vae(config, seed)
    images = np.concatenate([scenes.image[:5000], scenes.canvas[:500]])
    install_encoder(vae, *fit(images, config.latent_channels))
    _prepare_decoder(vae, seed)
    return vae


@torch.no_grad()
def _prepare_decoder(vae: AutoencoderKL, seed: int) -> None:
    """Start the decoder as a well-conditioned, almost linear map: orthogonal filters, silent residual branches."""
    source = torch.Generator().manual_seed(seed)
    for name, module in vae.decoder.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.orthogonal_(module.weight, generator=source)
            if name.endswith("conv2"):
                module.weight.zero_()
            if module.bias is not None:
                module.bias.zero_()


def _batch(scenes: SceneArrays, config: VaeTraining, step: int) -> np.ndarray:
    rng = np.random.default_rng([config.seed, step])
    picks = rng.integers(len(scenes), size=config.batch)
    images = scenes.image[picks].copy()
    canvases = rng.random(config.batch) < config.canvas_share
    images[canvases] = scenes.canvas[picks[canvases]]
    flips = rng.random(config.batch) < 0.5
    images[flips] = images[flips, :, ::-1]
    return images


def _loss(output: torch.Tensor, target: torch.Tensor, gradient_weight: float) -> torch.Tensor:
    difference = output - target
    pixel = difference.abs().mean() + 2 * difference.pow(2).mean()
    gradient = difference.diff(dim=-1).abs().mean() + difference.diff(dim=-2).abs().mean()
    return pixel + gradient_weight * gradient


def train_vae(out: Path, config: VaeTraining, cache: Path, start: Path | None = None) -> AutoencoderKL:
    """Fit the encoder (unless ``start`` holds one), train the decoder, save both and a log to ``out``."""
    from diffusers import AutoencoderKL

    out.mkdir(parents=True, exist_ok=True)
    scenes = load_scenes(cache, config.seed, config.scenes)
    vae = AutoencoderKL.from_pretrained(start) if start else fitted_vae(scenes, DEFAULT, config.seed)
    vae = vae.to(memory_format=torch.channels_last)
    projection, offset = linear_map(vae)
    decoder = vae.decoder.train()
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=config.lr, betas=(0.9, 0.98), weight_decay=0.0)
    source, started = torch.Generator().manual_seed(config.seed), time.monotonic()
    with (out / "log.jsonl").open("a") as log:
        log.write(json.dumps({"config": asdict(config)}) + "\n")
        for step in range(config.steps):
            rate = config.lr * min(1.0, (step + 1) / 50) * (0.5 + 0.5 * np.cos(np.pi * step / config.steps)) + 1e-5
            for group in optimizer.param_groups:
                group["lr"] = rate
            images = _batch(scenes, config, step)
            latents = encode_blocks(images, projection, offset)
            latents = latents + config.noise * torch.randn(latents.shape, generator=source)
            output = vae.decode(latents.contiguous(memory_format=torch.channels_last)).sample
            loss = _loss(output, to_tensor(images), config.gradient_weight)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
            optimizer.step()
            if step % 50 == 0:
                row = {"step": step, "loss": round(loss.item(), 5), "seconds": round(time.monotonic() - started, 1)}
                log.write(json.dumps(row) + "\n")
                log.flush()
            if step % 250 == 249:
                vae.save_pretrained(out)
    vae.eval().save_pretrained(out)
    return vae
