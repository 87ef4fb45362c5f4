"""`python -m trainer sample`: resumable, the same whatever the batch, foreground kept, nothing hidden in the files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainer.contract.checkpoint import LORA_FILE
from trainer.contract.config import RunConfig, apply_overrides
from trainer.contract.errors import ConfigError, ExitCode
from trainer.contract.sampling import (
    RESULTS,
    GeneratorSpec,
    SampleRequest,
    SamplerSettings,
    load_request,
    read_results,
    request_of,
)
from trainer.contract.snapshot import Snapshot, read_snapshot

TINY = {"sampler": {"steps": 2, "guidance": 1.0}, "dtype": "float32"}


@pytest.fixture(scope="module")
def snapshot(snapshot_folder: Path) -> Snapshot:
    return read_snapshot(snapshot_folder)


def request_file(path: Path, snapshot: Snapshot, base: Path, count: int = 5, batch: int = 2) -> Path:
    rows = [snapshot.conditions[i % len(snapshot.conditions)] for i in range(count)]
    items = [
        {
            "key": f"k{i}", "image": str(snapshot.path(row.image)), "mask": str(snapshot.path(row.mask)),
            "prompt": row.prompt, "seed": i,
        }
        for i, row in enumerate(rows)
    ]  # fmt: skip
    path.write_text(json.dumps({"generator": {"base": str(base), **TINY}, "items": items, "batch_size": batch}))
    return path


def load(folder: Path) -> list[np.ndarray]:
    return [np.asarray(Image.open(folder / result.image)) for result in read_results(folder)[0]]


def test_images_do_not_depend_on_the_batch(pipeline_folder: Path, snapshot: Snapshot, tmp_path: Path) -> None:
    from trainer.sampling import run_request

    for batch in (1, 3):
        request = load_request(request_file(tmp_path / f"{batch}.json", snapshot, pipeline_folder, batch=batch))
        assert run_request(request, tmp_path / f"out{batch}") == 0
    one, three = load(tmp_path / "out1"), load(tmp_path / "out3")
    assert len(one) == 5
    for a, b in zip(one, three, strict=True):
        assert np.abs(a.astype(int) - b.astype(int)).max() <= 1
    assert np.abs(one[0].astype(int) - one[1].astype(int)).max() > 1
    for result, image in zip(read_results(tmp_path / "out1")[0], one, strict=True):
        row = snapshot.conditions[int(result.key[1:])]
        true, mask = (np.asarray(Image.open(snapshot.path(path))) for path in (row.image, row.mask))
        assert np.array_equal(image[mask == 0], true[mask == 0])
        with Image.open(tmp_path / "out1" / result.image) as file:
            assert file.info == {}


def test_a_stopped_request_goes_on(pipeline_folder: Path, snapshot: Snapshot, tmp_path: Path) -> None:
    from trainer.sampling import run_request

    request = load_request(request_file(tmp_path / "request.json", snapshot, pipeline_folder))
    out, calls = tmp_path / "out", iter([False, True])
    assert run_request(request, out, cancelled=lambda: next(calls)) == 3
    first = (out / RESULTS).read_text()
    with (out / RESULTS).open("a") as handle:
        handle.write('{"key": "k4", "ima')
    assert run_request(request, out) == 0
    assert (out / RESULTS).read_text().startswith(first)
    assert sorted(result.key for result in read_results(out)[0]) == [f"k{i}" for i in range(5)]
    assert run_request(request, out) == 0


def test_a_folder_keeps_to_its_generator_and_its_items(
    pipeline_folder: Path, snapshot: Snapshot, tmp_path: Path
) -> None:
    from trainer.sampling import run_request

    request = load_request(request_file(tmp_path / "request.json", snapshot, pipeline_folder, count=2))
    out = tmp_path / "out"
    assert run_request(request, out) == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    first, second = request.items
    image = tmp_path / "other.png"
    Image.new("RGB", (32, 32), "blue").save(image)
    shutil.copytree(pipeline_folder, tmp_path / "base")

    def with_first(**change: object) -> SampleRequest:
        return request.model_copy(update={"items": [first.model_copy(update=change), second]})

    def by(**change: object) -> SampleRequest:
        return request.model_copy(update={"generator": request.generator.model_copy(update=change)})

    for other, code in (
        (by(base=str(tmp_path / "base")), "generator_changed"),
        (by(sampler=SamplerSettings(steps=3)), "generator_changed"),
        (with_first(seed=9), "item_changed"),
        (with_first(prompt="a boat"), "item_changed"),
        (with_first(image=image), "item_changed"),
    ):
        with pytest.raises(ConfigError, match="take a new folder, or remove it") as caught:
            run_request(other, out)
        assert caught.value.code == code
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    copied = shutil.copy(first.image, tmp_path / "same.png")
    more = [first.model_copy(update={"image": Path(copied)}), second, second.model_copy(update={"key": "k9"})]
    assert run_request(request.model_copy(update={"items": more}), out) == 0
    assert [result.key for result in read_results(out)[0]] == ["k0", "k1", "k9"]


def test_an_adapter_is_known_by_its_weights(pipeline_folder: Path, tmp_path: Path) -> None:
    from trainer.kept import generator_hash

    runs = [tmp_path / name for name in ("one", "moved", "other")]
    for run, weights in zip(runs, (b"a", b"a", b"b"), strict=True):
        (run / "adapter").mkdir(parents=True)
        (run / "adapter" / LORA_FILE).write_bytes(weights)
    named = [runs[0], runs[0] / "adapter", runs[1], runs[2], None]
    hashes = [
        generator_hash(GeneratorSpec(base=str(pipeline_folder), adapter=str(name) if name else None)) for name in named
    ]
    assert len(set(hashes[:3])) == 1 and len(set(hashes)) == 3


def test_images_of_unknown_origin_are_refused(pipeline_folder: Path, snapshot: Snapshot, tmp_path: Path) -> None:
    from trainer.sampling import run_request

    request = load_request(request_file(tmp_path / "request.json", snapshot, pipeline_folder, count=1))
    out = tmp_path / "out"
    assert run_request(request, out) == 0
    line = json.loads((out / RESULTS).read_text())
    del line["made_by"], line["made_of"]
    (out / RESULTS).write_text(json.dumps(line) + "\n")
    with pytest.raises(ConfigError, match="of an earlier version") as caught:
        run_request(request, out)
    assert caught.value.code == "origin_unknown"


def test_the_loop_of_the_family_gives_the_pipeline_s_own_image(pipeline_folder: Path, snapshot: Snapshot) -> None:
    """Our sampler against FluxFillPipeline.__call__ on the same noise: packing, mask, timesteps and shift agree."""
    import torch
    from diffusers import FluxFillPipeline

    from trainer.backbones.load import load_backbone
    from trainer.data.source import to_mask, to_tensor

    row = snapshot.conditions[0]
    image = to_tensor([np.asarray(Image.open(snapshot.path(row.image)))])
    mask = to_mask([np.asarray(Image.open(snapshot.path(row.mask)))])
    backbone = load_backbone(str(pipeline_folder), dtype="float32")
    noise = torch.randn(1, *backbone.latent_shape(32, 32), generator=torch.Generator().manual_seed(0))
    text = backbone.encode_text([row.prompt])
    mine = backbone.decode(backbone.sample(noise, backbone.encode_condition(image, mask), text, steps=4, guidance=1.0))
    pipeline = FluxFillPipeline.from_pretrained(pipeline_folder)
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        prompt=row.prompt, image=(image + 1) / 2, mask_image=mask, height=32, width=32, num_inference_steps=4,
        guidance_scale=1.0, max_sequence_length=16, output_type="pt", latents=backbone.pack(noise),
        generator=torch.Generator().manual_seed(0),
    ).images  # fmt: skip
    assert torch.allclose((mine.clamp(-1, 1) + 1) / 2, theirs, atol=2e-4)


def test_a_recipe_draws_a_snapshots_held_out_conditions(
    pipeline_folder: Path, snapshot: Snapshot, snapshot_folder: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from trainer.cli import main

    out = tmp_path / "out"
    command = ["sample", "--snapshot", str(snapshot_folder), "--out", str(out), "--images", "4", "--json"]
    assert main(command) == ExitCode.BAD_CONFIG
    assert "--recipe or --config" in capsys.readouterr().err
    values = {"model.base": str(pipeline_folder), "model.dtype": "float32", "samples.steps": 2, "samples.seed": 7}
    recipe = ["--recipe", "spatialworld_smoke", *(f"--set={name}={value}" for name, value in values.items())]
    assert main([*command, *recipe]) == ExitCode.FINISHED
    results = read_results(out)[0]
    held_out = [row for row in snapshot.conditions if row.split == "validation"]
    assert [result.seed for result in results] == [7] * len(held_out) + [8] * (4 - len(held_out))
    for result, row in zip(results, [*held_out, *held_out], strict=False):
        true, mask = (np.asarray(Image.open(snapshot.path(path))) for path in (row.image, row.mask))
        assert np.array_equal(np.asarray(Image.open(out / result.image))[mask == 0], true[mask == 0])


def test_a_request_of_a_config_draws_with_its_adapter_and_revision(snapshot: Snapshot) -> None:
    config = apply_overrides(RunConfig(), {"model.adapter": "RUN", "model.revision": "abc"})
    assert request_of(snapshot, config, adapter=None, images=1).generator.adapter == "RUN"
    generator = request_of(snapshot, config, adapter=Path("other"), images=1).generator
    assert (generator.adapter, generator.revision) == ("other", "abc")


def test_a_request_file_is_given_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from trainer.cli import main

    command = ["sample", "--request", str(tmp_path / "r.json"), "--out", str(tmp_path), "--recipe", "flux_fill"]
    assert main(command) == ExitCode.BAD_CONFIG
    assert "give it alone" in capsys.readouterr().err
