"""Pre-train SpatialWorld's transformer: rectified flow, first on rational scenes, then on a mixture that breaks rules.

Geometry is learned from scenes that keep it, hallucination is added afterwards: a model that saw the mixture only
hardly looked at its subject.

Scenes and text embeddings are made once and kept. The order of the data, the noise and the timesteps are functions of
(seed, step), so a resumed run goes on as if it had never stopped, up to the rounding of bfloat16 products, whose last
digits differ from run to run on CPUs.
"""

from __future__ import annotations

import copy
import json
import math
import os
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from trainer.backbones.load import compute_type
from trainer.spatialworld.attention import MixedPrecisionAttention
from trainer.spatialworld.codec import encode_blocks, linear_map
from trainer.spatialworld.model import DEFAULT, ModelConfig, build_pipeline, start_as_identity
from trainer.spatialworld.packing import image_ids, pack, pack_mask
from trainer.spatialworld.scene_cache import SceneArrays, load_scenes
from trainer.spatialworld.text import MAX_WORDS

if TYPE_CHECKING:
    from diffusers import FluxFillPipeline, FluxTransformer2DModel


@dataclass(frozen=True)
class Pretraining:
    """How the transformer is trained. The rate is constant after the warm-up and falls to zero in the last part.

    The first ``rational_share`` of the steps shows rational scenes only, the rest breaks a rule in ``broken_share``.
    ``dtype`` is of the products: auto is bfloat16 where the hardware is fast at it.
    """

    steps: int = 9000
    rational_share: float = 0.8
    broken_share: float = 0.77
    seed: int = 0
    scenes: int = 64000
    batch: int = 64
    lr: float = 1e-3
    muon_lr: float = 2e-3
    warmup: int = 200
    decay_share: float = 0.25
    weight_decay: float = 0.0
    ema: float = 0.995
    time_mean: float = 1.2
    time_std: float = 1.2
    dtype: str = "auto"


@dataclass
class Tensors:
    """The training set in memory: scenes as pixels (the linear encoder is cheaper than a cache), text embedded once.

    ``prompt`` int64 [N] points into ``text`` [U, 16, 64] and ``pooled`` [U, 64].
    """

    scenes: SceneArrays
    prompt: torch.Tensor
    text: torch.Tensor
    pooled: torch.Tensor
    projection: torch.Tensor
    offset: torch.Tensor

    def encode(self, images: np.ndarray) -> torch.Tensor:
        """uint8 [B, 64, 64, 3] to packed, normalised latents [B, 64, 64]."""
        return pack(encode_blocks(images, self.projection, self.offset).contiguous())


def prepare(pipeline: FluxFillPipeline, config: Pretraining, cache: Path) -> Tensors:
    """Render (or read) the scenes and embed their prompts."""
    scenes = load_scenes(cache, config.seed, config.scenes)
    prompts = sorted(set(scenes.prompt))
    index = {prompt: i for i, prompt in enumerate(prompts)}
    texts, pools = [], []
    with torch.no_grad():
        for start in range(0, len(prompts), 256):
            text, pooled, _ = pipeline.encode_prompt(prompts[start : start + 256], None, max_sequence_length=MAX_WORDS)
            texts.append(text)
            pools.append(pooled)
    words = torch.tensor([index[prompt] for prompt in scenes.prompt])
    projection, offset = linear_map(pipeline.vae)
    scale, shift = pipeline.vae.config.scaling_factor, pipeline.vae.config.shift_factor
    return Tensors(scenes, words, torch.cat(texts), torch.cat(pools), projection * scale, (offset - shift) * scale)


def rate_factor(config: Pretraining, step: int) -> float:
    """Warm-up, plateau, cosine to zero over the last ``decay_share`` of the steps: what the rates are multiplied by."""
    decay_from = config.steps * (1 - config.decay_share)
    rate = min(1.0, (step + 1) / config.warmup)
    if step < decay_from:
        return rate
    return rate * (0.5 + 0.5 * math.cos(math.pi * (step - decay_from) / max(config.steps - decay_from, 1)))


def optimizers_for(model: FluxTransformer2DModel, config: Pretraining) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, AdamW for the rest (embedders, modulation, norms, biases, output)."""
    matrices, rest = [], []
    for name, weight in model.named_parameters():
        inner = "transformer_blocks." in name and weight.ndim == 2 and ".norm" not in name
        (matrices if inner else rest).append(weight)
    return [
        torch.optim.Muon(matrices, lr=config.muon_lr, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=config.lr, betas=(0.9, 0.99), weight_decay=config.weight_decay, fused=True),
    ]


def choose_scenes(rational: np.ndarray, config: Pretraining, step: int, rng: np.random.Generator) -> np.ndarray:
    """Numbers int64 [B] of the scenes of a step, of scenes whose verdicts are ``rational`` bool [N]."""
    shown = np.ones(config.batch, bool)
    if step >= config.rational_share * config.steps:
        shown = rng.random(config.batch) >= config.broken_share
    kinds = (np.flatnonzero(~rational), np.flatnonzero(rational))
    return np.array([rng.choice(kinds[int(good)]) for good in shown])


def flow_loss(model: FluxTransformer2DModel, data: Tensors, config: Pretraining, step: int) -> torch.Tensor:
    """Mean squared velocity error of the batch of this step, over all latents."""
    rng = np.random.default_rng([config.seed, step])
    noise_source = torch.Generator().manual_seed(int(rng.integers(2**62)))
    picks = choose_scenes(data.scenes.rational, config, step, rng)
    flips = rng.random(config.batch) < 0.5
    images, canvases, masks = data.scenes.image[picks], data.scenes.canvas[picks], data.scenes.mask[picks]
    for part in (images, canvases, masks):
        part[flips] = part[flips, :, ::-1]
    clean = data.encode(images)
    noise = torch.randn(clean.shape, generator=noise_source)
    normal = config.time_mean + config.time_std * torch.randn(config.batch, generator=noise_source)
    t = torch.sigmoid(normal)
    noisy = clean + t[:, None, None] * (noise - clean)
    mask = pack_mask(torch.from_numpy((masks > 127).astype(np.float32)), 4)
    tokens = torch.cat([noisy, data.encode(canvases), mask], dim=-1)
    words, place = data.prompt[picks], model.device
    with torch.autocast(place.type, torch.bfloat16, enabled=compute_type(config.dtype, place) == torch.bfloat16):
        velocity = model(
            hidden_states=tokens.to(place),
            encoder_hidden_states=data.text[words].to(place),
            pooled_projections=data.pooled[words].to(place),
            timestep=t.to(place),
            img_ids=image_ids(16, 16).to(place),
            txt_ids=torch.zeros(MAX_WORDS, 3, device=place),
            return_dict=False,
        )[0]
    return (velocity.float() - (noise - clean).to(place)).pow(2).mean()


def _save(path: Path, state: dict[str, Any]) -> None:
    partial = path.with_suffix(".part")
    torch.save(state, partial)
    with partial.open("rb") as written:
        os.fsync(written.fileno())
    partial.rename(path)


def publish(pipeline: FluxFillPipeline, ema: FluxTransformer2DModel, out: Path) -> Path:
    """Save the pipeline with the averaged weights to ``out/pipeline``; a reader sees the old or the new, never half."""
    partial, final, old = out / "pipeline.part", out / "pipeline", out / "pipeline.old"
    shutil.rmtree(partial, ignore_errors=True)
    pipeline.register_modules(transformer=ema)
    pipeline.save_pretrained(partial)
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        final.rename(old)
    partial.rename(final)
    shutil.rmtree(old, ignore_errors=True)
    return final


def _average(ema: FluxTransformer2DModel, model: FluxTransformer2DModel, decay: float) -> None:
    with torch.no_grad():
        kept, new = list(ema.parameters()), [p.detach() for p in model.parameters()]
        torch._foreach_lerp_(kept, new, 1.0 - decay)


def _restore(
    path: Path,
    model: FluxTransformer2DModel,
    ema: FluxTransformer2DModel,
    optimizers: list[torch.optim.Optimizer],
) -> tuple[int, float]:
    """Puts a saved state into the models and optimizers; the step to go on with and the seconds spent before."""
    state = torch.load(path, map_location=model.device)
    model.load_state_dict(state["model"])
    ema.load_state_dict(state["ema"])
    for optimizer, kept in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(kept)
    return state["step"], state["seconds"]


def _update(
    model: FluxTransformer2DModel,
    optimizers: list[torch.optim.Optimizer],
    rates: list[float],
    data: Tensors,
    config: Pretraining,
    step: int,
) -> torch.Tensor:
    """One optimizer step at the rates of ``step``; returns its loss."""
    loss = flow_loss(model, data, config, step)
    model.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer, rate in zip(optimizers, rates, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate * rate_factor(config, step)
        optimizer.step()
    return loss


def pretrain(
    out: Path,
    config: Pretraining,
    vae_dir: Path,
    cache: Path,
    resume: bool,
    every: float = 120.0,
    sizes: ModelConfig = DEFAULT,
) -> Path:
    """Train for ``config.steps``; publishes a resumable state and the averaged pipeline every ``every`` seconds.

    ``vae_dir`` holds the trained autoencoder. The transformer is trained on the GPU if there is one. Returns the
    pipeline's folder. Raises FileExistsError if ``out`` already holds a state and ``resume`` was not asked for.
    """
    from diffusers import AutoencoderKL

    state_path = out / "state.pt"
    if state_path.exists() and not resume:
        raise FileExistsError(f"{out} already holds a pre-training: add --resume to go on, or choose another folder.")
    out.mkdir(parents=True, exist_ok=True)
    pipeline = build_pipeline(config.seed, config=sizes)
    pipeline.register_modules(vae=AutoencoderKL.from_pretrained(vae_dir).eval())
    data = prepare(pipeline, config, cache)
    model = pipeline.transformer.train()
    start_as_identity(model, config.seed)
    if torch.cuda.is_available():
        model.cuda()
    ema = copy.deepcopy(model).eval().requires_grad_(False)
    if model.device.type == "cpu":
        model.set_attn_processor(MixedPrecisionAttention())
    optimizers = optimizers_for(model, config)
    rates = [optimizer.defaults["lr"] for optimizer in optimizers]
    first, seconds = 0, 0.0
    if state_path.exists():
        first, seconds = _restore(state_path, model, ema, optimizers)
    started = saved = time.monotonic()
    running = 0.0
    with (out / "log.jsonl").open("a") as log:
        log.write(json.dumps({"from": first, "config": asdict(config), "model": sizes.to_json()}) + "\n")
        for step in range(first, config.steps):
            loss = _update(model, optimizers, rates, data, config, step)
            _average(ema, model, min(config.ema, (step + 1) / (step + 10)))
            running = loss.item() if step == first else 0.98 * running + 0.02 * loss.item()
            now = time.monotonic()
            spent = seconds + now - started
            if (step + 1) % 50 == 0:
                rate = round(rate_factor(config, step), 5)
                row = {"step": step + 1, "loss": round(running, 5), "rate": rate, "seconds": round(spent, 1)}
                log.write(json.dumps(row) + "\n")
                log.flush()
            if now - saved > every or step + 1 == config.steps:
                models = {"model": model.state_dict(), "ema": ema.state_dict()}
                moments = [optimizer.state_dict() for optimizer in optimizers]
                _save(state_path, models | {"optimizers": moments, "step": step + 1, "seconds": spent})
                publish(pipeline, ema, out)
                saved = time.monotonic()
    return out / "pipeline"
