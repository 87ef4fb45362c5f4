"""What only SD3 with an inpainting ControlNet has; what all families have is in `test_backbones.py`."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from trainer.backbones.debug.sd3_controlnet import build
from trainer.backbones.load import load_backbone
from trainer.contract.errors import ModelError

PROMPTS = ["a red car on a street", "a dog"]
HEIGHT, WIDTH = 32, 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sd3")
    build(folder)
    return folder


@pytest.fixture(scope="module")
def backbone(folder: Path) -> Any:
    return load_backbone(f"{folder}+{folder / 'controlnet'}", dtype="float32", device="cpu")


@pytest.fixture
def canvas() -> tuple[Tensor, Tensor]:
    """Pixels [2,3,H,W] in [-1,1] and masks (1 = background)."""
    mask = torch.ones(2, 1, HEIGHT, WIDTH)
    mask[:, :, 10:21, 8:22] = 0
    return torch.rand(2, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1)) * 2 - 1, mask


def noise_for(backbone: Any) -> Tensor:
    return torch.randn(2, *backbone.latent_shape(HEIGHT, WIDTH), generator=torch.Generator().manual_seed(2))


def test_the_controlnet_sees_what_the_pipeline_shows_it(backbone: Any, canvas: tuple[Tensor, Tensor]) -> None:
    pixels, mask = canvas
    seen: list[dict[str, Any]] = []
    handle = backbone.pipeline.controlnet.register_forward_pre_hook(
        lambda _module, _args, given: seen.append(given), with_kwargs=True
    )
    backbone.pipeline.set_progress_bar_config(disable=True)
    backbone.pipeline(
        prompt=PROMPTS, control_image=pixels, control_mask=mask, height=HEIGHT, width=WIDTH,
        latents=noise_for(backbone), num_inference_steps=1, guidance_scale=1.0, max_sequence_length=16,
        output_type="latent",
    )  # fmt: skip
    condition, text = backbone.encode_condition(*canvas), backbone.encode_text(PROMPTS)
    backbone.predict(noise_for(backbone), seen[0]["timestep"] / 1000, condition, text)
    handle.remove()
    theirs, mine = ({k: v for k, v in given.items() if isinstance(v, Tensor)} for given in seen)
    assert mine.keys() == theirs.keys() >= {"hidden_states", "controlnet_cond", "pooled_projections"}
    for name, value in theirs.items():
        torch.testing.assert_close(mine[name], value, atol=1e-5, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_a_timestep_keeps_its_digits_in_bfloat16(backbone: Any) -> None:
    """As in the pipeline, which hands the scheduler's timesteps over as they are."""
    model = SimpleNamespace(dtype=torch.bfloat16)
    given = backbone._inputs(model, noise_for(backbone), torch.tensor([0.9043, 0.5]), backbone.encode_text(PROMPTS))
    assert given["hidden_states"].dtype == torch.bfloat16
    torch.testing.assert_close(given["timestep"], torch.tensor([904.3, 500.0]))


def test_the_mask_says_what_is_kept_and_the_background_is_black(backbone: Any, canvas: tuple[Tensor, Tensor]) -> None:
    pixels, mask = canvas
    control = backbone.encode_condition(pixels, mask)["control"]
    assert control[0, -1, 4, 4] == 1 and control[0, -1, 0, 0] == 0
    assert torch.equal(control[:, :-1], backbone.encode_images(torch.where(mask.bool(), -1.0, pixels)))


def test_the_controlnet_steers_and_is_not_trained(backbone: Any, canvas: tuple[Tensor, Tensor]) -> None:
    pixels, mask = canvas
    noise, t, text = noise_for(backbone), torch.tensor([0.4, 0.9]), backbone.encode_text(PROMPTS)
    one = backbone.predict(noise, t, backbone.encode_condition(pixels, mask), text)
    other = backbone.predict(noise, t, backbone.encode_condition(-pixels, mask), text)
    assert (one - other).abs().max() > 1e-4
    assert not any(parameter.requires_grad for parameter in backbone.pipeline.controlnet.parameters())


def test_t5_may_be_absent(canvas: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    build(tmp_path, t5=False)
    backbone: Any = load_backbone(f"{tmp_path}+{tmp_path / 'controlnet'}", dtype="float32", device="cpu")
    text = backbone.encode_text(PROMPTS)
    embeds, _, pooled, _ = backbone.pipeline.encode_prompt(PROMPTS, None, None, do_classifier_free_guidance=False)
    assert torch.equal(text["embeds"], embeds) and torch.equal(text["pooled"], pooled)
    assert not text["embeds"][:, 77:].any()
    backbone.drop_text_encoders()
    drawn = backbone.sample(noise_for(backbone), backbone.encode_condition(*canvas), text, steps=2, guidance=3.0)
    assert torch.isfinite(drawn).all()


def test_a_pipeline_saved_with_its_controlnet_is_a_base_too(backbone: Any, tmp_path: Path) -> None:
    backbone.pipeline.save_pretrained(tmp_path)
    again: Any = load_backbone(f"{tmp_path}+{tmp_path / 'controlnet'}", dtype="float32", device="cpu")
    assert (again.family, again.sizes()) == (backbone.family, backbone.sizes())


def test_a_controlnet_without_a_mask_channel_is_refused(folder: Path, tmp_path: Path) -> None:
    from diffusers import SD3ControlNetModel

    from trainer.backbones.debug.sd3_controlnet import SHAPE

    SD3ControlNetModel(num_layers=1, **SHAPE).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="no channel of a mask beside the image: it cannot inpaint"):
        load_backbone(f"{folder}+{tmp_path}", device="cpu")
