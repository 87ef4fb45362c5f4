"""The model card: its code loads what was trained, on a base that others have; its words are the result's own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from trainer.backbones.families import FAMILIES, resolve_base
from trainer.card import model_card
from trainer.cli import main
from trainer.contract.checkpoint import RunFolder
from trainer.contract.config import RunConfig, apply_overrides
from trainer.contract.errors import ExitCode
from trainer.contract.recipes import recipe_config
from trainer.contract.snapshot import read_snapshot


def base_of(family: str, folder: Path) -> str:
    """The family's debug variant saved to a folder of its own, as someone's download would be."""
    shutil.copytree(resolve_base(f"{family}_debug").path, folder)
    return f"{folder}+{folder / 'controlnet'}" if FAMILIES[family].controlnets else str(folder)


def card_of(config: RunConfig, backbone: Any, snapshot: Path, run: Path) -> tuple[dict[str, Any], str]:
    """Front matter and body."""
    _, front, body = model_card(RunFolder(run), config, read_snapshot(snapshot), 4, backbone).split("---\n", 2)
    return yaml.safe_load(front), body


def block(body: str, language: str) -> str:
    return body.split("## Use")[1].split(f"```{language}\n")[1].split("```")[0]


def run(code: str) -> dict[str, Any]:
    space: dict[str, Any] = {}
    exec(compile(code, "card", "exec"), space)
    return space


@pytest.mark.parametrize("family", list(FAMILIES))
def test_its_code_loads_the_adapter_into_the_familys_pipeline(
    family: str, snapshot_folder: Path, tmp_path: Path
) -> None:
    from trainer.backbones.load import load_backbone

    config = apply_overrides(recipe_config(f"{family}_debug"), {"model.base": base_of(family, tmp_path / "base")})
    backbone: Any = load_backbone(config.model.base, dtype="float32", device="cpu")
    backbone.add_adapter(4, 4, "attention_mlp", 0)
    backbone.export_adapter(tmp_path / "adapter")
    front, body = card_of(config, backbone, snapshot_folder, tmp_path)
    assert "base_model" not in front
    code = block(body, "python").replace("FOLDER", str(tmp_path / "adapter"))
    if family == "qwen_image_edit":  # its tiny base lacks the video part that the pipeline's own processor loads
        code = code.split("pipeline = ")[0]
    space = run(code)
    assert space[backbone.pipeline_class.__name__] is backbone.pipeline_class
    if family != "qwen_image_edit":
        assert type(space["pipeline"]) is backbone.pipeline_class
        assert space["pipeline"].get_list_adapters().keys() == {backbone.denoiser_name}


def test_a_fully_tuned_model_is_loaded_with_the_bases_controlnet(snapshot_folder: Path, tmp_path: Path) -> None:
    from trainer.backbones.load import load_backbone

    name = "flux_controlnet_debug"
    backbone: Any = load_backbone(name, dtype="float32", device="cpu")
    config = apply_overrides(recipe_config(name), {"training.method": "full"})
    _, body = card_of(config, backbone, snapshot_folder, tmp_path)
    code = block(body, "python")
    assert "lora" not in code
    space = run(code.replace("FOLDER", resolve_base(name).path))
    assert type(space["pipeline"]) is backbone.pipeline_class


def test_public_bases_are_named_by_their_ids(snapshot_folder: Path, tmp_path: Path) -> None:
    from trainer.backbones.load import load_backbone

    backbone: Any = load_backbone("sd3_controlnet_debug", dtype="float32", device="cpu")
    backbone.add_adapter(2, 2, "attention", 0)
    config = apply_overrides(recipe_config("sd3_controlnet"), {"model.revision": "abc"})
    base, controlnet = config.model.base.split("+")
    front, body = card_of(config, backbone, snapshot_folder, tmp_path)
    assert front["base_model"] == [base, controlnet]
    assert "# stable-diffusion-3-medium-diffusers + SD3-Controlnet-Inpainting tuned on small" in body
    code = block(body, "python")
    assert f'SD3ControlNetModel.from_pretrained("{controlnet}", extra_conditioning_channels=1)' in code
    assert f'Pipeline.from_pretrained("{base}", revision="abc", controlnet=controlnet)' in code


def test_the_trainer_draws_on_a_base_that_only_it_knows(snapshot_folder: Path, tmp_path: Path) -> None:
    """The adapter was continued, so that its rank is not the config's."""
    from trainer.backbones.load import load_backbone

    config, adapter = recipe_config("flux_fill_debug"), tmp_path / "adapter"
    first: Any = load_backbone(config.model.base, dtype="float32", device="cpu")
    first.add_adapter(3, 3, "attention", 0)
    first.export_adapter(adapter)
    backbone: Any = load_backbone(config.model.base, dtype="float32", device="cpu")
    backbone.continue_adapter(adapter)
    front, body = card_of(config, backbone, snapshot_folder, tmp_path)
    assert "A LoRA of rank 3 for `flux_fill_debug`" in body and "base_model" not in front
    (tmp_path / "CONFIG.json").write_text(body.split("## Config")[1].split("```json\n")[1].split("```")[0])
    line = block(body, "sh").replace("CONFIG", str(tmp_path / "CONFIG.json")).replace("FOLDER", str(adapter))
    line = line.replace("SNAPSHOT", str(snapshot_folder)).replace("IMAGES", str(tmp_path / "images"))
    start, *options = line.split(" sample ")
    assert start == "python -m trainer"
    assert main(["sample", *options[0].split(), "--images", "1"]) == ExitCode.FINISHED
    assert len(list((tmp_path / "images" / "images").iterdir())) == 1
