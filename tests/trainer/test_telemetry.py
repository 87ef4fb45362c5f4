"""Sinks, sample grids, the model card, predicted beside measured, and beta that follows its target over a resume."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from PIL import Image

from trainer.card import CARD, licence_of
from trainer.cli import main
from trainer.contract.checkpoint import RunFolder
from trainer.contract.config import RunConfig, apply_overrides
from trainer.contract.errors import ConfigError, DivergedError, ExitCode
from trainer.contract.events import Cost, Event, EventWriter, Failed, Metrics, Sample, SampleImage, read_events
from trainer.sinks import MLFLOW_RUN, flat, open_sinks, sample_grid, scalars
from trainer.telemetry import WORSE_IN_A_ROW, Telemetry


def tracked(smoke: RunConfig, folder: Path) -> RunConfig:
    """MLflow to a folder and Weights & Biases offline, as far as they are installed."""
    values: dict[str, object] = {}
    if importlib.util.find_spec("mlflow"):
        values["telemetry.mlflow"] = (folder / "mlruns").as_uri()
    if importlib.util.find_spec("wandb"):
        values["telemetry.wandb"] = "offline"
    return apply_overrides(smoke, {**values, "training.steps": 4, "checkpoints.every": 2, "samples.conditions": 1})


def test_sinks_get_the_run_and_a_resume_goes_on_with_it(
    smoke: RunConfig, snapshot_folder: Path, tmp_path: Path
) -> None:
    from trainer.engine import train

    config, folder = tracked(smoke, tmp_path), RunFolder(tmp_path / "run")
    assert train(snapshot_folder, config, folder.root).state == "finished"
    assert train(snapshot_folder, config, folder.root, resume=True).state == "finished"
    if config.telemetry.mlflow:
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=config.telemetry.mlflow)
        experiment = client.get_experiment_by_name("inpaintdpo")
        assert experiment is not None
        (run,) = client.search_runs([experiment.experiment_id])
        assert run.info.status == "FINISHED" and run.data.params["objective.beta"] == str(config.objective.beta)
        told = [event for event in read_events(folder.events)[0] if event.kind == "metrics"]
        history = client.get_metric_history(run.info.run_id, "metrics/loss")
        assert [(point.step, point.value) for point in history] == [(e.step, e.values["loss"]) for e in told]
        assert any(file.path.startswith("samples/step-") for file in client.list_artifacts(run.info.run_id, "samples"))
    if config.telemetry.wandb == "offline":
        runs = [path for path in (folder.root / "wandb").iterdir() if path.name.startswith("offline-run-")]
        assert runs and len({path.name.rpartition("-")[2] for path in runs}) == 1
        assert all(any(path.glob("*.wandb")) for path in runs)
    assert any(folder.tensorboard.iterdir())


def test_a_sink_that_is_not_installed_is_named(
    smoke: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "wandb", None)
    config = apply_overrides(smoke, {"telemetry.wandb": "offline"})
    with pytest.raises(ConfigError, match="asks for wandb, which is not installed: pip install wandb"):
        list(open_sinks(RunFolder(tmp_path), config, 0))


def test_grids_lay_images_side_by_side(tmp_path: Path) -> None:
    for name, value, size in (("a", 10, 4), ("b", 20, 4), ("c", 30, 2), ("d", 40, 4), ("e", 50, 4)):
        Image.fromarray(np.full((size, size, 3), value, np.uint8)).save(tmp_path / f"{name}.png")
    images = [SampleImage(condition_id=n, seed=0, image=f"{n}.png", rational=n == "a") for n in "abcde"]
    event = Sample(step=3, images=images)
    sheet = sample_grid(tmp_path, event)
    assert sheet.shape == (8, 16, 3)
    assert [int(sheet[y, x, 0]) for y, x in ((0, 0), (0, 4), (0, 8), (3, 11), (0, 12), (4, 0))] == [
        10,
        20,
        30,
        255,
        40,
        50,
    ]
    assert scalars(event) == {"sample/rational": 0.2}
    assert flat({"a": {"b": 1, "c": {"d": None}}, "e": 2}) == {"a.b": 1, "a.c.d": None, "e": 2}


def test_the_card_tells_data_judgments_results_and_licence(
    smoke: RunConfig, snapshot_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through the command line, which also plans: the cost event holds the prediction against what was measured."""
    run, config = RunFolder(tmp_path / "run"), tmp_path / "config.json"
    config.write_text(apply_overrides(smoke, {"training.steps": 4}).model_dump_json())
    options = ["train", "--config", str(config), "--snapshot", str(snapshot_folder), "--out", str(run.root), "--fit"]
    assert main(options) == ExitCode.FINISHED
    _, front, body = (run.adapter / CARD).read_text().split("---\n", 2)
    assert yaml.safe_load(front)["library_name"] == "diffusers"
    assert f'FluxFillPipeline.from_pretrained("{smoke.model.base}")' in body
    record = json.loads(run.snapshot.read_text())
    beta = f'"beta": {smoke.objective.beta}'
    assert record["content_hash"] in body and "9 pairs" in body and "D_w" in body and beta in body
    events, _ = read_events(run.events)
    plan = next(event for event in events if event.kind == "plan")
    assert plan.values["flops_per_step"] > 0
    cost = next(event for event in events if event.kind == "cost")
    for name in ("flops_per_forward", "host_bytes"):
        assert cost.predicted[name] == pytest.approx(cost.measured[name], rel=0.15), name
    assert cost.measured["seconds_per_step"] > 0


def test_licences_are_read_from_the_base(tmp_path: Path) -> None:
    assert licence_of("Qwen/Qwen-Image-Edit") == "apache-2.0"
    assert licence_of("black-forest-labs/FLUX.1-dev+x/y") == "flux-1-dev-non-commercial-license"
    assert licence_of(str(tmp_path)) == "unknown"
    (tmp_path / CARD).write_text("---\nlicense: other\nlicense_name: mine\n---\nwords")
    assert licence_of(str(tmp_path)) == "mine"
    (tmp_path / CARD).write_text("---\n: [\n---\n")
    assert licence_of(str(tmp_path)) == "unknown"


def test_beta_follows_its_target_over_a_resume(smoke: RunConfig, snapshot_folder: Path, tmp_path: Path) -> None:
    from trainer.engine import train

    values = {
        "objective.auto_beta.target": 0.4, "objective.auto_beta.rate": 1.0, "training.steps": 4,
        "checkpoints.every": 2, "samples.every": 0, "validation.every": 0,
    }  # fmt: skip
    config = apply_overrides(smoke, values)

    def betas(folder: RunFolder) -> dict[int, float]:
        return {e.step: e.values["beta"] for e in read_events(folder.events)[0] if e.kind == "metrics"}

    whole, stopped = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "stopped")
    train(snapshot_folder, config, whole.root)
    train(snapshot_folder, config, stopped.root)
    for step, path in stopped.published_checkpoints():
        if step == 4:
            (path / "manifest.json").unlink()
    train(snapshot_folder, config, stopped.root, resume=True)
    found = betas(whole)
    assert found[1] == config.objective.beta and found[2] == pytest.approx(found[1] * math.exp(0.1), rel=1e-3)
    assert betas(stopped) == found


def test_health_is_named(tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    healthy = {"loss": 0.5, "grad_norm": 1.0, "d_win": -0.1, "accuracy": 1.0}
    with EventWriter(events) as writer:
        telemetry = Telemetry(writer, [])
        for step in range(1, WORSE_IN_A_ROW + 3):
            telemetry.add(step, healthy if step == 1 else {**healthy, "d_win": 0.1}, 2)
            telemetry.flush(step)
        with pytest.raises(DivergedError, match="The loss became nan at step 9"):
            telemetry.add(9, {**healthy, "loss": math.nan}, 2)
        with pytest.raises(DivergedError, match="The gradient became inf at step 9"):
            telemetry.add(9, {**healthy, "grad_norm": math.inf}, 2)
    warned = [event for event in read_events(events)[0] if event.kind == "warning"]
    assert [(event.code, event.step) for event in warned] == [("winner_gets_worse", WORSE_IN_A_ROW + 1)]
    assert all(math.isfinite(v) for e in read_events(events)[0] if isinstance(e, Metrics) for v in e.values.values())


def test_what_is_done_between_the_steps_of_a_window_is_left_out_of_the_speed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("trainer.telemetry.time", SimpleNamespace(monotonic=lambda: now[0]))
    with EventWriter(tmp_path / "events.jsonl") as writer:
        telemetry = Telemetry(writer, [])
        for step in (1, 2, 3, 4):
            now[0] += 2.0
            telemetry.add(step, {"loss": 0.7, "grad_norm": 1.0}, 8)
            with telemetry.paused():
                now[0] += 100.0
        telemetry.flush(4)
    (told,) = [event.values for event in read_events(tmp_path / "events.jsonl")[0] if isinstance(event, Metrics)]
    assert (told["seconds_per_step"], told["pairs_per_second"]) == (2.0, 4.0)


def test_a_validation_that_is_no_number_ends_the_run_as_diverged(
    smoke: RunConfig, snapshot_folder: Path, tmp_path: Path
) -> None:
    from trainer.engine import train

    values = {"optimizer.learning_rate": 1e19, "optimizer.warmup_steps": 0, "validation.every": 1}
    with pytest.raises(DivergedError, match="at step 1"):
        train(snapshot_folder, apply_overrides(smoke, values), tmp_path / "run")


class Gone:
    """A sink whose server drops out before its second event, or before it is closed."""

    name = "The far server"

    def __init__(self, lasts: int) -> None:
        self.heard: list[str] = []
        self._lasts = lasts

    def write(self, event: Event) -> None:
        if len(self.heard) >= self._lasts:
            raise ConnectionError("Max retries exceeded.\nA page of more.")
        self.heard.append(event.kind)

    def close(self) -> None:
        raise TimeoutError("It does not answer")


def test_a_sink_that_fails_is_left_out_and_the_run_goes_on(tmp_path: Path) -> None:
    stays, leaves = Gone(100), Gone(1)
    with EventWriter(tmp_path / "events.jsonl") as writer:
        telemetry = Telemetry(writer, [stays, leaves])
        for step in (1, 2, 3):
            telemetry.emit(Metrics(step=step, values={"loss": 0.5}))
        telemetry.end(Failed(step=3, code="not_finite", message="The loss became nan.", exit_code=71))
    assert leaves.heard == ["metrics"] and stays.heard == ["metrics", "metrics", "warning", "metrics", "failed"]
    events, _ = read_events(tmp_path / "events.jsonl")
    assert [event.kind for event in events] == ["metrics", "metrics", "warning", "metrics", "warning", "failed"]
    lost = "The far server fails and is told no more; events.jsonl has everything. It said:"
    assert [(event.code, event.message) for event in events if event.kind == "warning"] == [
        ("sink_lost", f"{lost} Max retries exceeded."), ("sink_lost", f"{lost} It does not answer."),
    ]  # fmt: skip


def test_a_failed_run_is_failed_at_its_sinks(smoke: RunConfig, snapshot_folder: Path, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    from trainer.engine import train

    store = (tmp_path / "mlruns").as_uri()
    values = {"telemetry.mlflow": store, "optimizer.learning_rate": 1e30, "optimizer.warmup_steps": 0}
    with pytest.raises(DivergedError):
        train(snapshot_folder, apply_overrides(smoke, values), tmp_path / "run")
    client = mlflow.MlflowClient(tracking_uri=store)
    run = client.get_run((tmp_path / "run" / MLFLOW_RUN).read_text())
    assert run.info.status == "FAILED" and run.data.metrics["metrics/loss"] > 0


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("elsewhere", r"telemetry.mlflow is elsewhere, which is neither a server nor a folder: give http://HOST:PORT"),
        ("foo://x", r"telemetry.mlflow is foo://x, but MLflow cannot be used there: .*turn it off by --set"),
    ],
)
def test_a_sink_that_cannot_be_opened_is_a_bad_config(
    smoke: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, words: str
) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    config = apply_overrides(smoke, {"telemetry.mlflow": uri})
    with pytest.raises(ConfigError, match=words) as caught:
        list(open_sinks(RunFolder(tmp_path / "run"), config, 0))
    assert caught.value.code == "sink_unusable" and [path.name for path in tmp_path.iterdir()] == ["run"]


def test_predictions_and_what_was_measured_are_shown_beside_each_other() -> None:
    event = Cost(step=5, predicted={"seconds_per_step": 1.5}, measured={"seconds_per_step": 2.0})
    assert scalars(event) == {"cost/seconds_per_step_predicted": 1.5, "cost/seconds_per_step_measured": 2.0}
