"""The loop that stands beside ours in `bench/train.py`: MaskDPO on FLUX Fill as one writes it first.

Written from the method with diffusers and peft alone. A frozen second copy of the whole pipeline is the reference; the
images, the condition and the prompt of a pair are encoded in every step; each member goes through each model by itself:
four forwards a pair, gradients accumulated over the pairs of a step. Only data order and noise are shared with ours.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F


def to_pixels(path: Path, device: str) -> Tensor:
    """[1,3,H,W] in [-1,1]."""
    return torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)[None].float().to(device) / 127.5 - 1


def encode(pipeline: Any, pixels: Tensor) -> Tensor:
    """Latents [1,16,h,w] in float32."""
    vae = pipeline.vae
    mode = vae.encode(pixels.to(vae.dtype)).latent_dist.mode().float()
    return (mode - vae.config.shift_factor) * vae.config.scaling_factor


def pack(pipeline: Any, cells: Tensor) -> Tensor:
    return pipeline._pack_latents(cells, *cells.shape)


def predict(pipeline: Any, noisy: Tensor, t: Tensor, condition: Tensor, text: tuple[Tensor, ...]) -> Tensor:
    """The velocity [1,16,h,w]."""
    embeds, pooled, text_ids = text
    height, width = noisy.shape[2:]
    dtype = pipeline.transformer.dtype
    tokens = pipeline.transformer(
        hidden_states=torch.cat((pack(pipeline, noisy), condition), dim=-1).to(dtype),
        timestep=t.to(dtype),
        guidance=torch.ones_like(t) if pipeline.transformer.config.guidance_embeds else None,
        encoder_hidden_states=embeds,
        pooled_projections=pooled,
        txt_ids=text_ids,
        img_ids=pipeline._prepare_latent_image_ids(1, height // 2, width // 2, noisy.device, dtype),
        return_dict=False,
    )[0]
    scale = pipeline.vae_scale_factor
    return pipeline._unpack_latents(tokens, height * scale, width * scale, scale).float()


def region_mean(prediction: Tensor, target: Tensor, region: Tensor) -> Tensor:
    return (region * (prediction - target).square()).sum() / (region.sum() * prediction.shape[1])


def train(
    folder: Path,
    snapshot: Any,
    config: Any,
    order: Callable[[int], list[int]],
    noise_of: Callable[[Any, int, tuple[int, ...]], tuple[Tensor, float]],
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> tuple[list[float], list[float], list[float]]:
    """Losses, seconds and CPU seconds of each step."""
    from diffusers import FluxFillPipeline
    from peft import LoraConfig

    policy = FluxFillPipeline.from_pretrained(folder, torch_dtype=dtype).to(device)
    frozen = copy.deepcopy(policy)  # loaded a second time, what is never used would stay on the disk
    for pipeline in (policy, frozen):
        for part in (pipeline.transformer, pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2):
            part.requires_grad_(False).eval()
    linear = [n for n, m in policy.transformer.named_modules() if isinstance(m, torch.nn.Linear)]
    torch.manual_seed(config.training.seed)
    rank = config.lora.rank
    policy.transformer.add_adapter(LoraConfig(r=rank, lora_alpha=config.lora.alpha or rank, target_modules=linear))
    trained = [p for p in policy.transformer.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.data = parameter.data.float()
    optimizer = torch.optim.AdamW(trained, lr=config.optimizer.learning_rate, weight_decay=0.0)
    pairs = snapshot.pairs_of("train")
    losses, seconds, cpu = [], [], []
    for step in range(config.training.steps):
        begun, cpu_begun = time.perf_counter(), time.process_time()
        optimizer.zero_grad(set_to_none=True)
        total = 0.0
        chosen = [pairs[index] for index in order(step)]
        for pair in chosen:
            loss = pair_loss(policy, frozen, snapshot, pair, config, noise_of, step, device) / len(chosen)
            loss.backward()
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(trained, config.optimizer.clip_norm)
        optimizer.step()
        losses.append(total)
        seconds.append(time.perf_counter() - begun)
        cpu.append(time.process_time() - cpu_begun)
    return losses, seconds, cpu


def pair_loss(
    policy: Any, frozen: Any, snapshot: Any, pair: Any, config: Any, noise_of: Any, step: int, device: str
) -> Tensor:
    """MaskDPO of one pair: everything encoded anew, four forwards."""
    row = snapshot.by_id[pair.condition_id]
    with torch.no_grad():
        win, lose = (encode(policy, to_pixels(snapshot.path(path), device)) for path in (pair.win, pair.lose))
        mask = torch.from_numpy(np.array(Image.open(snapshot.path(row.mask))))[None, None].float().to(device) / 255
        inside = (mask >= 0.5).float()
        masked = encode(policy, to_pixels(snapshot.path(row.image), device) * (1 - inside))
        unshuffled = F.pixel_unshuffle(inside, policy.vae_scale_factor)
        condition = torch.cat((pack(policy, masked), pack(policy, unshuffled)), dim=-1)
        longest = min(512, policy.tokenizer_2.model_max_length)
        text = policy.encode_prompt(row.prompt, None, device=device, max_sequence_length=longest)
    noise, share = noise_of(pair, step, tuple(win.shape[1:]))
    noise, t = noise[None].to(device), torch.tensor([share], device=device)
    background = F.interpolate(mask, size=win.shape[2:], mode="area")

    def errors(pipeline: Any, clean: Tensor) -> tuple[Tensor, Tensor]:
        velocity = predict(pipeline, (1 - t) * clean + t * noise, t, condition, text)
        target = noise - clean
        return region_mean(velocity, target, background), region_mean(velocity, target, 1 - background)

    win_error, foreground = errors(policy, win)
    lose_error, _ = errors(policy, lose)
    with torch.no_grad():
        win_before, lose_before = errors(frozen, win)[0], errors(frozen, lose)[0]
    objective = config.objective
    margin = -0.5 * objective.beta * ((win_error - win_before) - (lose_error - lose_before))
    return -F.logsigmoid(margin) + objective.mask_dpo.foreground_weight * foreground
