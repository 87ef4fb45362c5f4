"""Compiled blocks and attention backends: the same numbers by other kernels."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
import torch
import torch.utils.checkpoint
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from trainer.contract.checkpoint import RunFolder
from trainer.contract.config import RunConfig, TrainingConfig, apply_overrides
from trainer.contract.events import read_events
from trainer.kernels import attention, choose_kernels, compile_blocks, probe_attention
from trainer.parallel import Processes


def settings(smoke: RunConfig, **more: object) -> RunConfig:
    quick = {"training.steps": 2, "samples.every": 0, "validation.every": 0, "model.dtype": "float32"}
    return apply_overrides(smoke, {**quick, **more})


def losses(folder: RunFolder) -> list[float]:
    return [event.values["loss"] for event in read_events(folder.events)[0] if event.kind == "metrics"]


def test_the_probe_times_what_can_run_and_a_resumed_run_keeps_its_choice(
    smoke: RunConfig, snapshot_folder: Path, tmp_path: Path
) -> None:
    import json

    from trainer.engine import train

    plain, probed = RunFolder(tmp_path / "plain"), RunFolder(tmp_path / "probed")
    train(snapshot_folder, settings(smoke), plain.root)
    config = settings(smoke, **{"training.attention": "probe"})
    train(snapshot_folder, config, probed.root)
    checks = next(event.checks for event in read_events(probed.events)[0] if event.kind == "self_check")
    assert checks["attention_flash_seconds"] > 0 and checks["attention_math_seconds"] > 0
    assert losses(probed) == pytest.approx(losses(plain), rel=1e-5)
    manifest = probed.checkpoint(2) / "manifest.json"
    chosen = json.loads(manifest.read_text())["attention"]
    assert chosen in ("flash", "math")
    other = "math" if chosen == "flash" else "flash"
    manifest.write_text(manifest.read_text().replace(f'"{chosen}"', f'"{other}"'))
    train(snapshot_folder, config, probed.root, resume=True)
    again = [event.checks for event in read_events(probed.events)[0] if event.kind == "self_check"][-1]
    assert "attention_flash_seconds" not in again


def test_a_backend_is_in_force_inside_and_another_steps_in_where_it_cannot() -> None:
    query = torch.randn(1, 2, 8, 16)
    expected = scaled_dot_product_attention(query, query, query)
    for name in ("flash", "math", "cudnn"):
        with attention(name):
            assert torch.allclose(scaled_dot_product_attention(query, query, query), expected, atol=1e-5)
    with attention("math"):
        assert not torch.backends.cuda.flash_sdp_enabled() and torch.backends.cuda.math_sdp_enabled()
    assert torch.backends.cuda.flash_sdp_enabled()


def test_a_backend_that_cannot_run_is_left_out() -> None:
    def masked() -> None:
        query = torch.randn(1, 2, 8, 16, dtype=torch.float64, requires_grad=True)
        mask = torch.zeros(1, 2, 8, 8, dtype=torch.float64, requires_grad=True)
        scaled_dot_product_attention(query, query, query, attn_mask=mask).sum().backward()

    assert list(probe_attention(masked, torch.device("cpu"))) == ["math"]


def test_a_backend_without_memory_enough_is_left_out_and_the_others_are_timed() -> None:
    short = {"flash"}

    def work() -> None:
        if ("flash" if torch.backends.cuda.flash_sdp_enabled() else "math") in short:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    assert list(probe_attention(work, torch.device("cpu"))) == ["math"]
    short.add("math")
    with pytest.raises(torch.OutOfMemoryError):
        probe_attention(work, torch.device("cpu"))


def test_the_repeated_blocks_are_those_that_are_compiled(pipeline_folder: Path) -> None:
    from trainer.backbones.load import load_backbone

    denoiser = load_backbone(str(pipeline_folder)).denoiser
    count = compile_blocks(denoiser, None)
    assert count == len(denoiser.transformer_blocks) + len(denoiser.single_transformer_blocks) > 0
    assert compile_blocks(nn.Linear(2, 2)) == 0


def test_checkpointing_computes_twice_and_changes_nothing(
    smoke: RunConfig, snapshot_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainer.engine import train

    plain, sparing = RunFolder(tmp_path / "plain"), RunFolder(tmp_path / "sparing")
    train(snapshot_folder, settings(smoke), plain.root)
    recomputed, checkpoint = [], torch.utils.checkpoint.checkpoint

    def counted(*arguments: object, **options: object) -> object:
        recomputed.append(arguments[0])
        return checkpoint(*arguments, **options)

    monkeypatch.setattr(torch.utils.checkpoint, "checkpoint", counted)
    train(snapshot_folder, settings(smoke, **{"training.checkpointing": True}), sparing.root)
    assert recomputed and losses(sparing) == losses(plain)


@pytest.mark.skipif(not shutil.which("g++"), reason="inductor needs a C++ compiler on a CPU, and there is none")
@pytest.mark.timeout(1800)  # inductor builds two kinds of block with g++, adapter on and off: a minute or more
def test_compiled_blocks_train_as_uncompiled_ones_do_also_where_the_first_step_is_metered(
    smoke: RunConfig, snapshot_folder: Path, tmp_path: Path
) -> None:
    from torch._dynamo.utils import counters

    from trainer.engine import train

    plain, compiled = RunFolder(tmp_path / "plain"), RunFolder(tmp_path / "compiled")
    quick = {"model.dtype": "bfloat16", "training.micro_batch": 2, "training.pairs_per_step": 2}
    quick |= {f"objective.{term}.weight": 0.0 for term in ("capo", "scpo", "replay")}  # each is one more shape
    train(snapshot_folder, settings(smoke, **quick), plain.root)
    counters.clear()
    predicted = {"flops_per_forward": 1e9}
    train(snapshot_folder, settings(smoke, **quick, **{"training.compile": True}), compiled.root, predicted=predicted)
    assert counters["stats"]["unique_graphs"] > 0 and not counters["unimplemented"]
    start = next(event.checks for event in read_events(compiled.events)[0] if event.kind == "self_check")
    assert start["preference_loss"] == pytest.approx(math.log(2), abs=1e-3)
    assert losses(compiled) == pytest.approx(losses(plain), rel=1e-3)


@pytest.mark.skipif(not shutil.which("g++"), reason="inductor needs a C++ compiler on a CPU, and there is none")
@pytest.mark.timeout(900)  # inductor compiles one block, forward and backward, with g++: tens of seconds on a busy CPU
def test_a_compiled_block_gives_the_same_prediction_and_gradients(pipeline_folder: Path) -> None:
    from trainer.backbones.load import load_backbone

    def gradients(compiled: bool) -> tuple[torch.Tensor, list[torch.Tensor]]:
        backbone = load_backbone(str(pipeline_folder), dtype="float32")
        backbone.denoiser.transformer_blocks = backbone.denoiser.transformer_blocks[:1]
        backbone.denoiser.single_transformer_blocks = nn.ModuleList()
        condition = backbone.encode_condition(torch.zeros(2, 3, 32, 32), torch.ones(2, 1, 32, 32))
        text = backbone.encode_text(["a car", "a dog"])
        backbone.add_adapter(2, 2, "all", 0)
        with torch.no_grad():
            for parameter in backbone.trainable().values():
                parameter.add_(0.05)
        random = torch.Generator().manual_seed(0)
        noisy = torch.randn(2, *backbone.latent_shape(32, 32), generator=random)
        config = TrainingConfig(compile=compiled)
        with choose_kernels(config, backbone, None, lambda: None, Processes()) as kernels:
            assert kernels.attention is None and not kernels.seconds
            found = backbone.predict(noisy, torch.tensor([0.3, 0.9]), condition, text)
            found.square().mean().backward()
        # the text's own way out of the last block is not used: eager leaves its gradients out, a graph fills in zeros
        trained = backbone.trainable().values()
        return found.detach(), [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]

    (plain, slopes), (quick, others) = gradients(False), gradients(True)
    assert torch.allclose(plain, quick, atol=1e-4)
    assert any(bool(slope.any()) for slope in slopes)
    assert all(torch.allclose(one, other, atol=1e-4) for one, other in zip(slopes, others, strict=True))
