"""What is encoded once: shards, their keys, a build that is cut short, the reference's error maps."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.trainer.conftest import SIZE, png, scene
from trainer.contract.config import RunConfig, apply_overrides
from trainer.contract.errors import ConfigError, SelfCheckError
from trainer.contract.events import read_events
from trainer.contract.snapshot import ConditionInput, PairInput, read_snapshot, write_snapshot
from trainer.data.shards import ShardStore, content_key
from trainer.fingerprint import fingerprint

TIMES = ("pairs_per_second", "seconds_per_step", "peak_memory_bytes")
STEPS = 3


def tensors(seed: int) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return {"a": torch.randn(2, 3, generator=random), "b": torch.randn(4, generator=random).bfloat16()}


def test_a_store_gives_back_what_it_took_and_grows_by_whole_shards(tmp_path: Path) -> None:
    store = ShardStore(tmp_path, shard_bytes=60)
    for seed in range(5):
        store.put({content_key("item", seed): tensors(seed)})
    assert not list(tmp_path.glob(".*"))
    on_disk = ShardStore(tmp_path)
    assert len(on_disk) == 4 and len(list(tmp_path.iterdir())) == 2
    assert on_disk.missing(content_key("item", seed) for seed in range(5)) == [content_key("item", 4)]
    store.flush()
    again = ShardStore(tmp_path)
    for seed in range(5):
        found = again[content_key("item", seed)]
        assert {name: value.dtype for name, value in found.items()} == {"a": torch.float32, "b": torch.bfloat16}
        assert all(torch.equal(value, tensors(seed)[name]) for name, value in found.items())
        assert torch.equal(again.one(content_key("item", seed), "b"), tensors(seed)["b"])


@pytest.mark.parametrize("harm", ["cut in half", "one bit flipped"])
def test_a_damaged_shard_is_told_and_counts_as_missing(
    tmp_path: Path, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = ShardStore(tmp_path, shard_bytes=1)
    store.put({"first": tensors(1)})
    store.put({"second": tensors(2)})
    shards = sorted(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    body = bytearray(shards[0].read_bytes())
    body[-3] ^= 1
    shards[0].write_bytes(body[: len(body) // 2] if harm == "cut in half" else body)
    again = ShardStore(tmp_path)
    assert shards[0].name in caplog.text and "second" in again and "first" not in again
    assert [path.name for path in tmp_path.iterdir()] == [shards[1].name]


def test_a_fingerprint_sees_every_bit_and_every_name() -> None:
    layer = torch.nn.Linear(3, 5)
    before = fingerprint([layer])
    assert fingerprint([layer]) == before
    with torch.no_grad():
        layer.weight[4, 2] += 1e-7
    changed = fingerprint([layer])
    with torch.no_grad():
        layer.weight[:] = layer.weight.flip(0)
    assert len({before, changed, fingerprint([layer]), fingerprint([layer.bfloat16()])}) == 4
    assert fingerprint([layer], without=["bias"]) != fingerprint([layer])


@pytest.mark.parametrize("targets", [["to_q"], ["to_q", "to_v"]])
def test_an_adapter_leaves_the_fingerprint_of_the_weights_below_it(targets: list[str]) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    below = torch.nn.ModuleDict({name: torch.nn.Linear(3, 5) for name in ("to_q", "to_v")})
    before = fingerprint([below])
    inject_adapter_in_model(LoraConfig(r=2, target_modules=targets), below)
    adapter = [name for name in below.state_dict() if "lora_" in name]
    assert adapter and fingerprint([below], without=adapter) == before


def test_processes_encode_what_the_first_one_misses(smoke: RunConfig, snapshot_folder: Path) -> None:
    """Another run fills the folder between their looks: still each has as many rounds as the others."""
    from trainer.backbones.load import load_backbone
    from trainer.contract.snapshot import read_snapshot
    from trainer.parallel import Processes
    from trainer.schedule import Schedule

    class Second(Processes):
        def once(self, work: object) -> list[str]:
            return told

    backbone = load_backbone(smoke.model.base, dtype="float32", device="cpu")
    data = Schedule(smoke, read_snapshot(snapshot_folder), backbone, ShardStore(None)).data
    told: list[str] = []
    rounds: list[tuple[int, int]] = []
    data.encode(progress=lambda done, total: rounds.append((done, total)), processes=Second(0, 1))
    assert rounds == []
    data.encode()
    told = [data.condition_key(data.conditions[0].condition_id)]
    data.encode(progress=lambda done, total: rounds.append((done, total)), processes=Second(0, 1))
    assert rounds[-1] == (rounds[-1][1], rounds[-1][1])


def settings(smoke: RunConfig, **more: object) -> RunConfig:
    base = {"training.steps": STEPS, "samples.every": 0, "validation.every": 2, "checkpoints.every": 1}
    return apply_overrides(smoke, {**base, **more})


def figures(folder: Path) -> list[tuple[int, dict[str, float]]]:
    events, _ = read_events(folder / "events.jsonl")
    return [
        (event.step, {name: value for name, value in event.values.items() if name not in TIMES})
        for event in events
        if event.kind in ("metrics", "validation")
    ]


BUILD = """
import sys
import time
from pathlib import Path
import trainer.data.shards as shards
shards.SHARD_BYTES = 1
shards.ShardStore.__init__.__kwdefaults__["shard_bytes"] = 1
from trainer.cli import main
sys.exit(main(["train", "--config", sys.argv[1], "--snapshot", sys.argv[2], "--out", sys.argv[3], "--resume", "auto",
               "--cache", sys.argv[4]]))
"""


@pytest.mark.timeout(300)
def test_a_build_killed_on_the_way_goes_on_and_the_run_is_the_same(
    smoke: RunConfig, snapshot_folder: Path, tmp_path: Path
) -> None:
    """SIGKILL as soon as some shards are there: the second start encodes the rest alone, and no figure differs."""
    from trainer.engine import train

    config = settings(smoke, **{"reference.source": "cache", "reference.draws": 2})
    train(snapshot_folder, config, tmp_path / "whole", cache=tmp_path / "whole-cache")
    file, cache = tmp_path / "config.json", tmp_path / "cache"
    file.write_text(config.model_dump_json())
    arguments = [sys.executable, "-c", BUILD, str(file), str(snapshot_folder), str(tmp_path / "cut"), str(cache)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(arguments, env=environment)
    while process.poll() is None and len(list(cache.glob("encoded/*.safetensors"))) < 2:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {path.name: path.stat().st_mtime_ns for path in cache.glob("encoded/*.safetensors")}
    whole = len(ShardStore(tmp_path / "whole-cache" / "encoded"))
    assert len(before) >= 2 and len(ShardStore(cache / "encoded")) < whole
    assert train(snapshot_folder, config, tmp_path / "cut", resume=True, cache=cache).state == "finished"
    after = {path.name: path.stat().st_mtime_ns for path in cache.glob("encoded/*.safetensors")}
    assert before.items() <= after.items() and len(ShardStore(cache / "encoded")) == whole
    assert figures(tmp_path / "cut") == figures(tmp_path / "whole")
    progress = [event for event in read_events(tmp_path / "cut" / "events.jsonl")[0] if event.kind == "progress"]
    assert [event.done for event in progress if event.what == "encode"].count(0) == 2
    assert progress[-1].what == "reference" and progress[-1].done == progress[-1].total


def test_a_run_keeps_its_own_cache_until_it_is_finished(
    smoke: RunConfig, snapshot_folder: Path, tmp_path: Path
) -> None:
    from trainer.engine import train

    train(snapshot_folder, settings(smoke), tmp_path / "run")
    assert not (tmp_path / "run" / "cache").exists()
    train(snapshot_folder, settings(smoke), tmp_path / "other", cache=tmp_path / "shared")
    shards = sorted((tmp_path / "shared" / "encoded").iterdir())
    train(snapshot_folder, settings(smoke), tmp_path / "third", cache=tmp_path / "shared")
    assert sorted((tmp_path / "shared" / "encoded").iterdir()) == shards
    assert not [event for event in read_events(tmp_path / "third" / "events.jsonl")[0] if event.kind == "progress"]
    assert figures(tmp_path / "third") == figures(tmp_path / "run")


def test_cached_errors_are_those_of_the_model(smoke: RunConfig, snapshot_folder: Path, tmp_path: Path) -> None:
    """The same rows, through the cache and through the model: equal to the accuracy of another batch's products."""
    from trainer.backbones.load import load_backbone
    from trainer.contract.snapshot import read_snapshot
    from trainer.prepare import prepare, prepare_reference
    from trainer.reference import GUIDANCE, ModelReference

    config = settings(smoke, **{"reference.source": "cache", "reference.draws": 2, "model.dtype": "float32"})
    backbone = load_backbone(config.model.base, dtype="float32")
    schedule = prepare(config, read_snapshot(snapshot_folder), backbone, tmp_path)
    backbone.add_adapter(4, 4, "all", 0)
    cached = prepare_reference(config, backbone, schedule, tmp_path)
    with torch.no_grad():
        for parameter in backbone.trainable().values():
            parameter.add_(0.05)
    model = ModelReference(backbone, GUIDANCE)
    seen = set()
    for step in range(STEPS):
        for slots in schedule.slots:
            batch, layout = schedule.builder.build(step, schedule.pairs(step), slots)
            rows = batch.first(layout.referenced)
            assert torch.allclose(cached.maps(rows), model.maps(rows), rtol=1e-4, atol=1e-5)
            seen |= {row.draw for row in rows.rows}
    assert seen == {0, 1}


def test_a_stale_reference_cache_is_refused_with_words(smoke: RunConfig, snapshot_folder: Path, tmp_path: Path) -> None:
    from trainer.engine import train

    config, cache = settings(smoke, **{"reference.source": "cache", "model.dtype": "float32"}), tmp_path / "cache"
    train(snapshot_folder, config, tmp_path / "first", cache=cache)
    record = next(cache.glob("reference-*/reference.json"))
    identity = json.loads(record.read_text())
    for field, words in (
        ("weights", "other weights"),
        ("noise_scheme", "other noise scheme"),
        ("dtype", "other dtype"),
    ):
        record.write_text(json.dumps({**identity, field: "another"}))
        with pytest.raises(ConfigError, match=words):
            train(snapshot_folder, config, tmp_path / field, cache=cache)
    train(snapshot_folder, config, tmp_path / "forced", cache=cache, force=True)
    assert json.loads(record.read_text()) == identity
    assert figures(tmp_path / "forced") == figures(tmp_path / "first")
    other = apply_overrides(config, {"model.dtype": "bfloat16"})
    with pytest.raises(ConfigError, match="other dtype"):
        train(snapshot_folder, other, tmp_path / "narrow", cache=cache)


def test_a_signal_while_encoding_stops_the_run_and_keeps_what_is_there(
    smoke: RunConfig, snapshot_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainer.contract.errors import ExitCode
    from trainer.engine import train

    put = ShardStore.put

    def put_and_signal(store: ShardStore, entries: dict[str, dict[str, torch.Tensor]]) -> None:
        put(store, entries)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(ShardStore, "put", put_and_signal)
    result = train(snapshot_folder, settings(smoke), tmp_path / "run")
    assert (result.state, result.exit_code, result.step) == ("cancelled", ExitCode.CANCELLED, 0)
    assert result.checkpoint is None and len(ShardStore(tmp_path / "run" / "cache" / "encoded")) > 0
    monkeypatch.undo()
    assert train(snapshot_folder, settings(smoke), tmp_path / "run", resume=True).state == "finished"


def thin_snapshot(folder: Path) -> Path:
    """One pair whose subject is a line one pixel wide, which no cell's corner lies on."""
    mask = np.full((SIZE, SIZE), 255, np.uint8)
    mask[5:15, 9] = 0
    image = np.full((SIZE, SIZE, 3), 90, np.uint8)
    condition = ConditionInput("thin", "s", "train", "a red car", png(image), png(mask))
    pair = PairInput("p", "thin", png(scene(0, True)), png(scene(0, False)), "w", "l", 0.9)
    write_snapshot(folder, name="thin", rules={}, conditions=[condition], pairs=[pair], winners=[])
    return folder


def test_a_thin_subject_weakens_by_area_and_vanishes_by_nearest(smoke: RunConfig, tmp_path: Path) -> None:
    """The pooling is part of the region's key and of nothing else: the other entries of a shared cache stay in use."""
    from trainer.backbones.load import load_backbone
    from trainer.engine import train
    from trainer.prepare import prepare

    snapshot = read_snapshot(thin_snapshot(tmp_path / "thin"))
    config = settings(smoke, **{"validation.every": 0, "model.dtype": "float32"})
    backbone, counts, regions, keys = load_backbone(config.model.base, dtype="float32"), [], {}, []
    for pooling in ("area", "nearest", "area"):
        changed = apply_overrides(config, {"objective.mask_pooling": pooling})
        schedule = prepare(changed, snapshot, backbone, tmp_path / "cache")
        regions[pooling] = schedule.data.region("thin")
        rows = schedule.builder.referenced(0, schedule.pairs(0), schedule.slots[0])
        keys.append([schedule.builder.key(row) for row in rows])
        counts.append(len(ShardStore(tmp_path / "cache" / "encoded")))
    mask = np.asarray(Image.open(snapshot.path(snapshot.conditions[0].mask))) / 255
    cells = regions["area"].shape[-1]
    by_area = mask.reshape(cells, SIZE // cells, cells, SIZE // cells).mean((1, 3))
    assert regions["area"][0].numpy() == pytest.approx(by_area)
    assert by_area.min() < 1 and torch.equal(regions["nearest"], torch.ones(1, cells, cells))
    assert counts == [counts[0], counts[0] + 1, counts[0] + 1] and keys[0] == keys[1]

    warned = train(snapshot.folder, config, tmp_path / "area", cache=tmp_path / "cache")
    assert warned.state == "finished"
    warnings = [event.code for event in read_events(tmp_path / "area" / "events.jsonl")[0] if event.kind == "warning"]
    assert "mask_thin" in warnings
    nearest = apply_overrides(config, {"objective.mask_pooling": "nearest"})
    with pytest.raises(SelfCheckError, match="mask of condition thin leaves only 0 latent cells"):
        train(snapshot.folder, nearest, tmp_path / "nearest", cache=tmp_path / "cache")


def test_other_encoders_in_the_same_folder_are_noticed(
    smoke: RunConfig, pipeline_folder: Path, snapshot_folder: Path, tmp_path: Path
) -> None:
    """What is remembered of a base holds for its files: another autoencoder makes other latents, and texts stay."""
    from safetensors.torch import load_file, save_file

    from trainer.prepare import fill_cache

    base, cache = tmp_path / "base", tmp_path / "cache"
    shutil.copytree(pipeline_folder, base)
    config = apply_overrides(settings(smoke), {"model.base": str(base)})
    count = fill_cache(snapshot_folder, config, cache)["encoded"]
    assert fill_cache(snapshot_folder, config, cache)["encoded"] == count
    weights = base / "vae" / "diffusion_pytorch_model.safetensors"
    save_file({name: 2 * value for name, value in load_file(weights).items()}, weights, metadata={"format": "pt"})
    again = fill_cache(snapshot_folder, config, cache)["encoded"]
    regions, texts = 6 + config.validation.pairs, 1
    assert again == 2 * count - regions - texts
