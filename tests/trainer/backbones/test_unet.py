"""Stable Diffusion with other schedulers and targets; what is no inpainting model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trainer.contract.errors import ModelError

torch = pytest.importorskip("torch")

PROMPTS = ["a red car", "a dog"]


def saved(folder: Path, **scheduler: Any) -> Path:
    """The debug variant under another scheduler, and the config of it that changes."""
    from trainer.backbones.debug.sd_inpaint import build

    build(folder, scheduler.pop("prediction_type", "epsilon"))
    kind = scheduler.pop("kind", None)
    if kind:
        index = folder / "model_index.json"
        index.write_text(json.dumps({**json.loads(index.read_text()), "scheduler": ["diffusers", kind]}))
    config = folder / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **scheduler}))
    return folder


@pytest.mark.parametrize(
    "scheduler",
    [
        {"prediction_type": "v_prediction"},
        {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
        {"kind": "PNDMScheduler", "skip_prk_steps": True},
        {"kind": "EulerDiscreteScheduler", "timestep_spacing": "linspace"},
        {"kind": "DPMSolverMultistepScheduler"},
    ],
    ids=["v", "v zero snr", "pndm", "euler", "dpm"],
)
def test_samples_are_the_pipeline_s_under_every_scheduler(scheduler: dict[str, Any], tmp_path: Path) -> None:
    from diffusers import StableDiffusionInpaintPipeline

    from trainer.backbones.load import load_backbone

    folder = saved(tmp_path, **dict(scheduler))
    backbone = load_backbone(str(folder), dtype="float32", device="cpu")
    assert backbone.prediction_type == scheduler.get("prediction_type", "epsilon")
    image = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(2, 1, 32, 32)
    mask[:, :, 8:20, 6:19] = 0
    noise = torch.randn(2, *backbone.latent_shape(32, 32), generator=torch.Generator().manual_seed(2))
    given, text = backbone.encode_condition(image * 2 - 1, mask), backbone.encode_text(PROMPTS)
    mine = backbone.decode(backbone.sample(noise, given, text, steps=4, guidance=2.0))
    pipeline = StableDiffusionInpaintPipeline.from_pretrained(folder, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        prompt=PROMPTS, image=image, mask_image=mask, height=32, width=32, num_inference_steps=4, guidance_scale=2.0,
        latents=noise, output_type="pt",
    ).images  # fmt: skip
    assert torch.allclose((mine.clamp(-1, 1) + 1) / 2, theirs, atol=1e-3)


def test_a_perfect_model_s_error_is_nought_for_noise_and_velocity(tmp_path: Path) -> None:
    """x_t and target agree: from both, the clean latents come back, for either kind of target."""
    from trainer.backbones.load import load_backbone

    clean, noise, t = torch.randn(3, 4, 8, 8), torch.randn(3, 4, 8, 8), torch.tensor([0.1, 0.5, 0.9])
    for kind in ("epsilon", "v_prediction"):
        backbone: Any = load_backbone(str(saved(tmp_path / kind, prediction_type=kind)), dtype="float32", device="cpu")
        scheduler, noisy, target = (
            backbone.pipeline.scheduler,
            *(f(clean, noise, t) for f in (backbone.noisy, backbone.target)),
        )
        signal = scheduler.alphas_cumprod[backbone._schedule.timesteps(t)].sqrt().view(-1, 1, 1, 1)
        share = (1 - signal.square()).sqrt()
        back = (noisy - share * target) / signal if kind == "epsilon" else signal * noisy - share * target
        assert torch.allclose(back, clean, atol=1e-4)


def test_a_model_that_cannot_inpaint_is_refused(tmp_path: Path) -> None:
    from diffusers import StableDiffusionInpaintPipeline

    from trainer.backbones.debug.parts import seeded
    from trainer.backbones.load import load_backbone

    folder = saved(tmp_path / "nine")
    pipeline = StableDiffusionInpaintPipeline.from_pretrained(folder, safety_checker=None)
    config = {**pipeline.unet.config, "in_channels": 4}
    pipeline.register_modules(unet=seeded(0, lambda: type(pipeline.unet).from_config(config)))
    pipeline.save_pretrained(tmp_path / "four")
    with pytest.raises(ModelError, match="UNet takes 4 channels; one made for inpainting takes 9"):
        load_backbone(str(tmp_path / "four"), device="cpu")
