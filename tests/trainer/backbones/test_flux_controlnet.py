"""alimama's layout, written out: 17 channels packed into 68, 1 = kept, black elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trainer.contract.errors import ModelError

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from trainer.backbones.load import load_backbone

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield load_backbone("flux_controlnet_debug", dtype="float32", device="cpu")


def test_the_condition_is_alimama_s(backbone: Any) -> None:
    """Latents of the blackened image and the kept share as a 17th channel, packed together."""
    pixels = torch.rand(1, 3, 32, 32) * 2 - 1
    mask = torch.ones(1, 1, 32, 32)
    mask[:, :, 9:23, 6:19] = 0
    black = pixels.clone()
    black[(mask > 0.5).repeat(1, 3, 1, 1)] = -1
    config = backbone.vae.config
    latents = (backbone.vae.encode(black).latent_dist.mode() - config.shift_factor) * config.scaling_factor
    kept = torch.stack([1 - mask[:, 0, 4 * i, 4 * j] for i in range(8) for j in range(8)], dim=1).view(1, 1, 8, 8)
    cells = torch.cat((latents, kept), dim=1)
    tokens = backbone.encode_condition(pixels, mask)["tokens"]
    assert tokens.shape == (1, 16, 68)
    for row in range(4):
        for column in range(4):
            block = cells[0, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            assert torch.allclose(tokens[0, 4 * row + column], block.reshape(-1), atol=1e-6)


def test_only_the_transformer_is_trained_and_the_controlnet_is_heard(backbone: Any) -> None:
    noise, t = torch.randn(1, *backbone.latent_shape(32, 32)), torch.tensor([0.5])
    text = backbone.encode_text(["a dog"])
    pixels, mask = torch.rand(1, 3, 32, 32) * 2 - 1, torch.ones(1, 1, 32, 32)
    mask[:, :, 8:24, 8:24] = 0
    one = backbone.predict(noise, t, backbone.encode_condition(pixels, mask), text)
    other = backbone.predict(noise, t, backbone.encode_condition(-pixels, mask), text)
    assert (one - other).abs().max() > 1e-4
    backbone.add_adapter(4, 4, "all", 0)
    assert not any(parameter.requires_grad for parameter in backbone.controlnet.parameters())
    assert backbone.sizes()["controlnet"] > 0


def test_a_controlnet_without_mask_channels_is_refused(backbone: Any, tmp_path: Any) -> None:
    from diffusers import FluxControlNetModel

    from trainer.backbones.debug.flux import SHAPE
    from trainer.backbones.families import resolve_base
    from trainer.backbones.load import load_backbone

    FluxControlNetModel(num_layers=1, num_single_layers=0, **SHAPE).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="4 packed channels of a mask beside the image's latents: it cannot inpaint"):
        load_backbone(f"{resolve_base('flux_controlnet_debug').path}+{tmp_path}", device="cpu")


def test_families_with_the_same_encoders_do_not_share_cached_conditionings(
    backbone: Any, snapshot_folder: Path
) -> None:
    from trainer.backbones.load import load_backbone
    from trainer.contract.snapshot import verify_snapshot
    from trainer.data.encoders import prints_of
    from trainer.data.source import TrainingData

    fill = load_backbone("flux_fill_debug", dtype="float32", device="cpu")
    assert prints_of(fill) == prints_of(backbone)
    snapshot = verify_snapshot(snapshot_folder)
    one, other = (TrainingData(snapshot, each, held_out_pairs=1) for each in (fill, backbone))
    assert one.condition_key("c0") != other.condition_key("c0")
