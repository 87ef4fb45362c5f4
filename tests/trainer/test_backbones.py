"""Every family, on its debug variant: trained, saved, resumed, exported, re-loaded and sampled; and fed as its own
pipeline would feed it. A family joins by a `Case`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from trainer.contract.checkpoint import LORA_FILE, RunFolder
from trainer.contract.config import RunConfig, apply_overrides
from trainer.contract.errors import ExitCode, ModelError
from trainer.contract.events import read_events
from trainer.contract.recipes import recipe_config
from trainer.contract.snapshot import read_snapshot

torch = pytest.importorskip("torch")

if TYPE_CHECKING:
    from torch import Tensor, nn

    from trainer.backbones.protocol import Backbone

HEIGHT, WIDTH = 32, 48
STEPS = 3
PROMPTS = ["a red car on a street", "a dog"]


@dataclass(frozen=True)
class Case:
    """How to call a family's own pipeline as we sample: what it calls its noise, and what else it wants."""

    family: str
    latents: Callable[[Any, Tensor], Tensor] = lambda backbone, noise: noise
    """The pipeline's `latents` argument from noise [B,C,h,w]."""
    guidance: float = 2.5
    arguments: Callable[[Tensor, Tensor], dict[str, Any]] = lambda image, mask: {"image": image, "mask_image": mask}
    """The condition's arguments from an image [B,3,H,W] in [0,1] and a mask [B,1,H,W] (1 = background)."""
    extra: dict[str, Any] = field(default_factory=dict)


def packed(backbone: Any, noise: Tensor) -> Tensor:
    return backbone.pack(noise)


def control(image: Tensor, mask: Tensor) -> dict[str, Any]:
    return {"control_image": image, "control_mask": mask}


def normalised_control(image: Tensor, mask: Tensor) -> dict[str, Any]:
    """This pipeline takes a tensor's values as they are."""
    return control(image * 2 - 1, mask)


def edit_picture(image: Tensor, mask: Tensor) -> dict[str, Any]:
    from PIL import Image

    from trainer.backbones.qwen_image_edit import edit_pictures

    pictures = edit_pictures(image * 2 - 1, mask).permute(0, 2, 3, 1).numpy()
    return {"image": [Image.fromarray(picture) for picture in pictures]}


CASES = [
    Case("flux_fill", latents=packed, extra={"max_sequence_length": 16}),
    Case("flux_controlnet", latents=packed, arguments=control, extra={"max_sequence_length": 16}),
    Case("sd_inpaint"),
    Case("sdxl_inpaint", extra={"strength": 1.0}),
    Case("sd3_controlnet", arguments=normalised_control, extra={"max_sequence_length": 16}),
    Case(
        "qwen_image_edit", latents=packed, arguments=edit_picture,
        extra={"true_cfg_scale": 2.5, "negative_prompt": [" ", " "]},
    ),
]  # fmt: skip


@pytest.fixture(autouse=True)
def edit_pictures_of_their_own_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """QwenImageEditPipeline brings its edit picture to a megapixel; here, to that of the canvas."""
    from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit as upstream

    monkeypatch.setattr(upstream, "calculate_dimensions", lambda _area, _ratio: (WIDTH, HEIGHT, None))


@pytest.fixture(scope="module", autouse=True)
def debug_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Debug variants are built anew for these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.family)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


def load(case: Case) -> Any:
    from trainer.backbones.load import load_backbone

    return load_backbone(f"{case.family}_debug", dtype="float32")


def fresh_pipeline(case: Case) -> Any:
    """The family's own pipeline as a user would load it."""
    from trainer.backbones.families import FAMILIES, resolve_base

    pipeline = (
        FAMILIES[case.family]
        .load_class()
        .open(resolve_base(f"{case.family}_debug"), revision=None, dtype=torch.float32)
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def condition() -> tuple[Tensor, Tensor]:
    """Two images [2,3,H,W] in [0,1] and masks with a subject in the middle, off the latent grid."""
    image = torch.rand(2, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(2, 1, HEIGHT, WIDTH)
    mask[0, :, 9:23, 6:19] = 0
    mask[1, :, 5:30, 12:26] = 0
    return image, mask


def noise_for(backbone: Backbone) -> Tensor:
    return torch.randn(2, *backbone.latent_shape(HEIGHT, WIDTH), generator=torch.Generator().manual_seed(2))


def call(case: Case, pipeline: Any, backbone: Any, noise: Tensor, steps: int, guidance: float) -> Tensor:
    """Images [2,3,H,W] in [0,1] by the pipeline's own call."""
    image, mask = condition()
    torch.manual_seed(0)  # some pipelines draw from the autoencoder's posterior without their generator
    return pipeline(
        prompt=PROMPTS, height=HEIGHT, width=WIDTH, num_inference_steps=steps, guidance_scale=guidance,
        latents=case.latents(backbone, noise), generator=torch.Generator().manual_seed(0), output_type="pt",
        **case.arguments(image, mask), **case.extra,
    ).images  # fmt: skip


@contextmanager
def recorded(module: nn.Module) -> Iterator[list[dict[str, Any]]]:
    """Collects the arguments of a module's calls, positional ones under their numbers."""
    calls: list[dict[str, Any]] = []

    def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.append({**{str(i): value for i, value in enumerate(args)}, **kwargs})

    handle = module.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield calls
    finally:
        handle.remove()


def tensors(value: Any) -> list[Tensor]:
    """Tensors inside an argument, flat."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        return [found for name in sorted(value) for found in tensors(value[name])]
    return [found for item in value for found in tensors(item)] if isinstance(value, list | tuple) else []


def assert_same_arguments(mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Every tensor that the pipeline hands over is handed over by us, and no other."""
    mine, theirs = ({name: tensors(v) for name, v in given.items() if tensors(v)} for given in (mine, theirs))
    assert mine.keys() == theirs.keys()
    for name, values in theirs.items():
        assert len(values) == len(mine[name]), name
        for one, other in zip(mine[name], values, strict=True):
            one, other = torch.broadcast_tensors(one.float(), other.float())
            assert torch.allclose(one, other, rtol=0, atol=2e-5 * max(1.0, float(other.abs().max()))), (
                f"{name}: {(one - other).abs().max()}"
            )


def test_the_denoiser_is_fed_as_the_pipeline_feeds_it(case: Case) -> None:
    """Conditioning, packing, ids, timesteps and guidance of the first step, and the image after all steps."""
    backbone, pipeline = load(case), fresh_pipeline(case)
    image, mask = condition()
    noise = noise_for(backbone)
    given, text = encoded(backbone, image * 2 - 1, mask)
    with recorded(backbone.denoiser) as mine:
        latents = backbone.sample(noise, given, text, steps=STEPS, guidance=case.guidance)
    with recorded(getattr(pipeline, backbone.denoiser_name)) as theirs:
        images = call(case, pipeline, backbone, noise, STEPS, case.guidance)
    assert len(mine) == len(theirs)
    for one, other in zip(mine, theirs, strict=True):
        assert_same_arguments(one, other)
    assert torch.allclose((backbone.decode(latents).clamp(-1, 1) + 1) / 2, images, atol=1e-3)


def encoded(backbone: Backbone, pixels: Tensor, mask: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    return backbone.encode_condition(pixels, mask), backbone.encode_text(PROMPTS, pixels, mask)


def test_what_is_hidden_does_not_reach_the_model(case: Case) -> None:
    """Pixels of the background change neither conditioning nor text."""
    backbone = load(case)
    image, mask = condition()
    other = torch.where(mask >= 0.5, 1 - image, image)
    for one, two in zip(encoded(backbone, image * 2 - 1, mask), encoded(backbone, other * 2 - 1, mask), strict=True):
        assert all(torch.equal(one[name], two[name]) for name in one)
    turned, _ = encoded(backbone, image * 2 - 1, 1 - mask)
    plain, _ = encoded(backbone, image * 2 - 1, mask)
    assert any(not torch.equal(plain[name], turned[name]) for name in plain)


@pytest.fixture(scope="module")
def config(case: Case) -> RunConfig:
    """The full objective for a few steps."""
    return apply_overrides(
        recipe_config("spatialworld_smoke"),
        {
            "model.base": f"{case.family}_debug", "model.dtype": "float32", "objective.t_min": 0.3,
            "training.steps": STEPS, "checkpoints.every": 1, "checkpoints.keep": STEPS, "validation.every": STEPS,
            "samples.every": STEPS, "samples.conditions": 1, "samples.guidance": 2.0,
        },
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(case: Case, config: RunConfig, snapshot_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """MaskDPO, CAPO, SCPO and replay, trained to the end."""
    from trainer.engine import train

    folder = RunFolder(tmp_path_factory.mktemp(case.family) / "run")
    assert train(snapshot_folder, config, folder.root).state == "finished"
    return folder


def metrics(folder: RunFolder) -> dict[int, dict[str, float]]:
    skipped = ("pairs_per_second", "seconds_per_step", "peak_memory_bytes")
    return {
        event.step: {name: value for name, value in event.values.items() if name not in skipped}
        for event in read_events(folder.events)[0]
        if event.kind == "metrics"
    }


def test_a_run_trains_and_samples(run: RunFolder) -> None:
    figures = metrics(run)
    assert figures[1]["loss_preference"] == pytest.approx(np.log(2), abs=1e-4)
    assert figures[1]["loss_capo"] == pytest.approx(np.log(2), abs=1e-4) and figures[1]["loss_scpo"] == 0
    assert figures[STEPS]["loss_preference"] != figures[1]["loss_preference"]
    assert all(np.isfinite(value) for values in figures.values() for value in values.values())
    samples = [event for event in read_events(run.events)[0] if event.kind == "sample"]
    assert all((run.root / image.image).is_file() for event in samples for image in event.images)


def test_a_resumed_run_is_the_same_to_the_last_bit(
    case: Case, config: RunConfig, run: RunFolder, snapshot_folder: Path, tmp_path: Path
) -> None:
    from trainer.engine import train

    copy = RunFolder(tmp_path / "run")
    shutil.copytree(run.root, copy.root)
    for step in range(2, STEPS + 1):
        shutil.rmtree(copy.checkpoint(step))
    shutil.rmtree(copy.adapter)
    copy.events.unlink()
    assert train(snapshot_folder, config, copy.root, resume=True).state == "finished"
    whole, resumed = metrics(run), metrics(copy)
    assert resumed == {step: values for step, values in whole.items() if step > 1}
    assert (copy.adapter / LORA_FILE).read_bytes() == (run.adapter / LORA_FILE).read_bytes()


CALLS_OF_THE_SELF_CHECK = 4
"""Policy and reference, before and after the adapter is moved."""


def test_a_controlnet_runs_once_for_policy_and_reference(
    case: Case, config: RunConfig, snapshot_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given its residuals, both predict the same bits; in a step only the denoiser runs twice."""
    from trainer.engine import train

    backbone = load(case)
    controlnet = getattr(backbone.pipeline, "controlnet", None)
    image, mask = condition()
    noise, t = noise_for(backbone), torch.tensor([0.4, 0.9])
    given, text = encoded(backbone, image * 2 - 1, mask)
    shared = backbone.residuals(noise, t, given, text)
    assert bool(shared) == (controlnet is not None)
    if controlnet is None:
        return
    alone = backbone.predict(noise, t, given, text)
    with recorded(controlnet) as calls:
        assert torch.equal(backbone.predict(noise, t, given | shared, text), alone)
    assert not calls
    few = {"training.steps": 1, "samples.every": 0, "validation.every": 0}
    with recorded(backbone.denoiser) as predicted, recorded(controlnet) as steered:
        monkeypatch.setattr("trainer.engine.load_backbone", lambda *_, **__: backbone)
        train(snapshot_folder, apply_overrides(config, few), tmp_path / "run")
    assert len(predicted) == 2 * len(steered) + CALLS_OF_THE_SELF_CHECK and len(steered) > 1


def without_weights(folder: Path, *parts: str) -> None:
    for part in parts:
        for file in (folder / part).glob("*.safetensors*"):
            file.unlink()


def test_a_complete_cache_needs_no_encoders(
    case: Case, config: RunConfig, snapshot_folder: Path, tmp_path: Path
) -> None:
    """A base whose text encoders are gone, and then the weights of its autoencoder, is trained from the cache alone;
    what the cache lacks is said."""
    from trainer.backbones.families import FAMILIES, resolve_base
    from trainer.engine import train

    base, cache = tmp_path / "base", tmp_path / "cache"
    shutil.copytree(resolve_base(f"{case.family}_debug").path, base)
    name = f"{base}+{base / 'controlnet'}" if FAMILIES[case.family].controlnets else str(base)
    few = {"model.base": name, "training.steps": 1, "samples.every": 1, "validation.every": 1}

    def run(out: str, **more: Any) -> RunFolder:
        folder = RunFolder(tmp_path / out)
        train(snapshot_folder, apply_overrides(config, {**few, **more}), folder.root, cache=cache)
        return folder

    first = run("first")
    for encoder in FAMILIES[case.family].load_class().encoder_names:
        shutil.rmtree(base / encoder, ignore_errors=True)
    second = run("second")
    for file in ("adapter/" + LORA_FILE, *(f"samples/step-000001/{p.name}" for p in first.samples(1).iterdir())):
        assert (second.root / file).read_bytes() == (first.root / file).read_bytes(), file
    without_weights(base, "vae")
    third = run("third", **{"samples.every": 0})
    assert (third.adapter / LORA_FILE).read_bytes() == (first.adapter / LORA_FILE).read_bytes()
    with pytest.raises(ModelError, match=r"samples.every\), but the autoencoder of .*base cannot be loaded: "):
        run("fourth")
    with pytest.raises(ModelError, match=r"cache.encoded lacks images or conditions of this run, but the autoencoder"):
        run("fifth", **{"objective.capo.scale_min": 0.7})
    for shard in (cache / "encoded").iterdir():
        shard.unlink()
    with pytest.raises(
        ModelError, match=r"cache.encoded lacks texts of this run, but the text encoders of .*base cannot be"
    ):
        run("sixth", **{"samples.every": 0})


def test_the_adapter_changes_its_own_pipeline(case: Case, run: RunFolder) -> None:
    backbone, pipeline = load(case), fresh_pipeline(case)
    noise = noise_for(backbone)
    before = call(case, pipeline, backbone, noise, 2, case.guidance)
    pipeline.load_lora_weights(run.adapter)
    after = call(case, pipeline, backbone, noise, 2, case.guidance)
    assert (after - before).abs().max() > 1e-4
    pipeline.unload_lora_weights()
    assert torch.equal(call(case, pipeline, backbone, noise, 2, case.guidance), before)


def test_the_commands_export_and_sample(
    case: Case, run: RunFolder, snapshot_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`export`, then `sample` with the base and with the adapter, one image each."""
    from PIL import Image

    from trainer.cli import main

    assert main(["export", "--run", str(run.root), "--out", str(tmp_path / "adapter")]) == 0
    row = read_snapshot(snapshot_folder).conditions[-1]
    item = {"key": "one", "image": str(snapshot_folder / row.image), "mask": str(snapshot_folder / row.mask)}
    images = []
    for adapter in (None, str(tmp_path / "adapter")):
        generator = {"base": f"{case.family}_debug", "adapter": adapter, "adapter_scale": 5.0, "dtype": "float32"}
        generator["sampler"] = {"steps": 2, "guidance": 2.0}
        request, out = tmp_path / "request.json", tmp_path / f"out{len(images)}"
        request.write_text(json.dumps({"generator": generator, "items": [{**item, "prompt": row.prompt, "seed": 1}]}))
        assert main(["sample", "--request", str(request), "--out", str(out), "--json"]) == 0
        assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"done": 1, "left": 0}
        images.append(np.asarray(Image.open(out / "images" / "one.png")).astype(int))
    assert np.abs(images[0] - images[1]).max() > 0


def test_a_recipe_is_exported_with_the_adapter_in_its_weights(
    case: Case, run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`export --recipe`: a whole pipeline that predicts what base and adapter do together."""
    from trainer.backbones.families import FAMILIES
    from trainer.backbones.load import load_backbone
    from trainer.cli import main

    values = {"model.adapter": str(run.root), "model.dtype": "float32"}
    options = ["--recipe", f"{case.family}_debug", *(f"--set={name}={value}" for name, value in values.items())]
    assert main(["export", *options, "--out", str(tmp_path / "fused"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["model"] == str(tmp_path / "fused")
    plus = f"+{tmp_path / 'fused' / 'controlnet'}" if FAMILIES[case.family].controlnets else ""
    fused, base = load_backbone(f"{tmp_path / 'fused'}{plus}", dtype="float32"), load(case)
    image, mask = condition()
    noise, t = noise_for(base), torch.tensor([0.4, 0.9])
    given, text = encoded(base, image * 2 - 1, mask)
    before = base.predict(noise, t, given, text)
    base.load_adapter(run.root)
    wanted, found = base.predict(noise, t, given, text), fused.predict(noise, t, given, text)
    assert torch.allclose(found, wanted, atol=1e-5) and (found - wanted).abs().max() < (wanted - before).abs().max() / 4
    assert main(["export", *options, "--out", str(tmp_path / "fused")]) == ExitCode.BAD_CONFIG


def test_the_exported_adapter_is_the_trained_one(case: Case, tmp_path: Path) -> None:
    """Policy and export predict the same, with alpha other than rank; the reference predicts what the base does."""
    one, other = load(case), load(case)
    image, mask = condition()
    noise, t = noise_for(one), torch.tensor([0.4, 0.9])
    given, text = encoded(one, image * 2 - 1, mask)
    base = one.predict(noise, t, given, text)
    one.add_adapter(4, 10.0, "all", 0)
    assert torch.equal(one.predict(noise, t, given, text), base)
    with torch.no_grad():
        for parameter in one.trainable().values():
            parameter.add_(0.05)
    one.export_adapter(tmp_path / "adapter")
    other.load_adapter(tmp_path / "adapter")
    mine, theirs = one.predict(noise, t, given, text), other.predict(noise, t, given, text)
    with one.reference():
        assert torch.equal(one.predict(noise, t, given, text), base)
    assert (mine - base).abs().max() > 1e-3
    assert torch.allclose(mine, theirs, atol=1e-4)
    assert all(parameter.dtype == torch.float32 for parameter in one.trainable().values())


def test_a_continued_adapter_starts_from_its_parent_and_keeps_it_as_the_reference(case: Case, tmp_path: Path) -> None:
    one, other = load(case), load(case)
    image, mask = condition()
    noise, t = noise_for(one), torch.tensor([0.4, 0.9])
    given, text = encoded(one, image * 2 - 1, mask)
    one.add_adapter(4, 4, "attention", 0)
    with torch.no_grad():
        for parameter in one.trainable().values():
            parameter.add_(0.05)
        parent = one.predict(noise, t, given, text)
        one.export_adapter(tmp_path / "adapter")
        other.continue_adapter(tmp_path / "adapter")
        assert torch.allclose(other.predict(noise, t, given, text), parent, atol=1e-4)
        for parameter in other.trainable().values():
            parameter.add_(0.05)
        moved = other.predict(noise, t, given, text)
        with other.reference():
            assert torch.allclose(other.predict(noise, t, given, text), parent, atol=1e-4)
        assert (moved - parent).abs().max() > 1e-3
    trained = {name for name, parameter in other.denoiser.named_parameters() if parameter.requires_grad}
    assert trained == other.trainable().keys()


def test_all_weights_can_be_trained_and_read_back(case: Case, tmp_path: Path) -> None:
    """Full fine-tuning: a frozen copy is the reference; the denoiser is written as the part of a pipeline it is."""
    backbone = load(case)
    image, mask = condition()
    noise, t = noise_for(backbone), torch.tensor([0.4, 0.9])
    given, text = encoded(backbone, image * 2 - 1, mask)
    base = backbone.predict(noise, t, given, text)
    backbone.train_fully(copy_reference=True)
    backbone.drop_text_encoders()
    backbone.drop_vae()
    backbone.predict(noise, t, given, text).square().mean().backward()
    with torch.no_grad():
        for parameter in backbone.trainable().values():
            if parameter.grad is not None:
                parameter.add_(0.01)
        moved = backbone.predict(noise, t, given, text)
        with backbone.reference():
            assert torch.equal(backbone.predict(noise, t, given, text), base)
    assert (moved - base).abs().max() > 1e-3
    backbone.export_model(tmp_path, {name: value.detach() for name, value in backbone.trainable().items()})
    read = type(backbone.denoiser).from_pretrained(tmp_path / backbone.denoiser_name)
    assert all(torch.equal(value, read.state_dict()[name]) for name, value in backbone.trainable().items())


def test_half_precision_computes_nearly_the_same(case: Case) -> None:
    """bfloat16 products on a CPU; weights of the adapter, predictions and gradients stay float32."""
    from trainer.backbones.load import load_backbone

    exact, half = load(case), load_backbone(f"{case.family}_debug", dtype="bfloat16", device="cpu")
    image, mask = condition()
    noise, t = noise_for(exact), torch.tensor([0.4, 0.9])
    given, text = encoded(exact, image * 2 - 1, mask)
    wanted = exact.predict(noise, t, given, text)
    half.add_adapter(4, 4, "attention", 0)
    found = half.predict(noise, t, given, text)
    assert found.dtype == torch.float32 and not torch.equal(found, wanted)
    assert (found - wanted).norm() < 0.05 * wanted.norm()
    found.square().mean().backward()
    gradients = [parameter.grad for parameter in half.trainable().values() if parameter.grad is not None]
    assert gradients and all(gradient.dtype == torch.float32 for gradient in gradients)


def test_the_plan_counts_the_parts_from_their_files(case: Case) -> None:
    from trainer.backbones.families import resolve_base
    from trainer.backbones.sizes import sizes_from_files

    backbone = load(case)
    counts = [len(backbone.linear_layers(targets)) for targets in ("attention", "attention_mlp", "all")]
    assert 0 < counts[0] < counts[1] <= counts[2]
    backbone.add_adapter(4, 4, "attention_mlp", 0)
    planned = sizes_from_files(resolve_base(f"{case.family}_debug"), 4, "attention_mlp")
    sizes = backbone.sizes()
    assert planned["adapter"] == sizes["adapter"] > 0
    assert planned[backbone.denoiser_name] >= sizes[backbone.denoiser_name], "files hold buffers too"


def test_a_sample_depends_on_its_own_noise_alone_and_needs_no_text_encoders(case: Case) -> None:
    backbone = load(case)
    image, mask = condition()
    noise = noise_for(backbone)
    given, text = encoded(backbone, image * 2 - 1, mask)
    both = backbone.sample(noise, given, text, steps=2, guidance=case.guidance)
    backbone.drop_text_encoders()
    first = backbone.sample(
        noise[:1], {n: v[:1] for n, v in given.items()}, {n: v[:1] for n, v in text.items()}, steps=2,
        guidance=case.guidance,
    )  # fmt: skip
    assert torch.allclose(both[:1], first, atol=1e-4)


def test_a_prompt_counts_as_cut_where_its_end_has_no_effect(case: Case) -> None:
    backbone = load(case)
    if backbone.text_sees_image:
        pytest.skip("this family refuses a prompt that is too long")

    def embeds(prompt: str) -> Tensor:
        return backbone.encode_text([prompt])["embeds"]

    short, long = "a " * 3, "a " * 700
    assert backbone.cut([short + "dog", short + "car"]) == 0
    assert not torch.equal(embeds(short + "dog"), embeds(short + "car"))
    assert backbone.cut([short + "dog", long + "dog", long + "car"]) == 2
    assert torch.equal(embeds(long + "dog"), embeds(long + "car"))


def test_a_base_is_named_by_words(tmp_path: Path) -> None:
    from trainer.backbones.families import family_of, resolve_base
    from trainer.backbones.load import load_backbone

    flux = resolve_base("flux_controlnet_debug")
    assert family_of(flux).name == "flux_controlnet"
    assert resolve_base(f"{flux.path}+{flux.controlnet}") == flux
    with pytest.raises(ModelError, match=r"name the base as .*\+CONTROLNET"):
        load_backbone(flux.path)
    with pytest.raises(ModelError, match="takes no ControlNet"):
        load_backbone(f"{resolve_base('sd_inpaint_debug').path}+{flux.controlnet}")
    for base, other in (("flux_controlnet", "sd3_controlnet"), ("sd3_controlnet", "flux_controlnet")):
        one, two = resolve_base(f"{base}_debug"), resolve_base(f"{other}_debug")
        with pytest.raises(ModelError, match="which does not fit a"):
            load_backbone(f"{one.path}+{two.controlnet}")
    with pytest.raises(ModelError, match="holds no config"):
        load_backbone(f"{flux.path}+{tmp_path}")
    (tmp_path / "model_index.json").write_text('{"_class_name": "KandinskyPipeline"}')
    with pytest.raises(ModelError, match="is a KandinskyPipeline; those that can be tuned are"):
        load_backbone(str(tmp_path))
