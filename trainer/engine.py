"""One training run, top to bottom: open, encode, check, train, publish.

In: a snapshot folder and a config. Out: the run folder of `trainer.contract.checkpoint`. Everything random is a
function of (seed, purpose, item, step), so a run that was stopped anywhere goes on to the same bits on the CPU.
"""

from __future__ import annotations

import json
import math
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import torch

from trainer import __version__
from trainer.backbones.load import load_backbone
from trainer.checkpoint import last_good, load_state, publish_adapter, save_checkpoint
from trainer.contract.checkpoint import RunFolder, RunResult
from trainer.contract.config import OptimizerConfig, RunConfig, load_config
from trainer.contract.errors import ConfigError, ExitCode, StorageError, TrainerError, disk_problem
from trainer.contract.events import (
    Cancelled,
    CheckpointEvent,
    EventWriter,
    Failed,
    Finished,
    Plan,
    Resumed,
    SelfCheck,
    Started,
    Warn,
)
from trainer.contract.files import write_durably
from trainer.contract.snapshot import Pair, verify_snapshot
from trainer.data.order import PairOrder
from trainer.data.rows import RowBuilder, StepSlots, slots_of
from trainer.data.source import TrainingData
from trainer.evaluation.grid import Grid
from trainer.evaluation.held_out import HeldOut
from trainer.planner import plan
from trainer.reference import policy_prediction, reference_prediction
from trainer.self_check import check_masks, check_model
from trainer.telemetry import Telemetry, peak_memory_bytes
from trainer.terms import Errors, StepCounts, Terms, combine, counts_of, errors_of

if TYPE_CHECKING:
    from trainer.data.rows import Batch, Layout

GUIDANCE = 1.0
"""Guidance embedding in training: guidance-distilled models are tuned at 1 and sampled at 30."""
LEAST_FREE_BYTES = 64 * 2**20
"""Free disk below which a run does not start: its first checkpoint would fail."""


def train(
    snapshot_folder: Path, config: RunConfig, out: Path, *, resume: bool = False, force: bool = False
) -> RunResult:
    """Train to the end, to a cancel, or to an error; the run folder tells which.

    `resume` goes on from the last good checkpoint, or starts where there is none. A changed snapshot or config is
    refused unless `force`. Raises TrainerError after writing it to the event stream.
    """
    folder = RunFolder(out)
    _open_folder(folder, config, resume=resume, force=force)
    with EventWriter(folder.events) as events, _stop_requests(folder) as stop:
        run = _Run(folder, config, events, stop)
        try:
            return run.go(snapshot_folder, force=force)
        except TrainerError as error:
            run.fail(error.code, error.message, error.exit_code)
            raise
        except Exception as error:
            if problem := disk_problem(error):
                run.fail(problem.code, problem.message, problem.exit_code)
                raise problem from error
            run.fail("unforeseen", f"{type(error).__name__}: {error}", ExitCode.FAILED)
            raise


def _open_folder(folder: RunFolder, config: RunConfig, *, resume: bool, force: bool) -> None:
    try:
        folder.checkpoints.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(folder.root).free < LEAST_FREE_BYTES:
            raise StorageError("disk_full", f"Less than {LEAST_FREE_BYTES >> 20} MiB are free where the run is kept.")
        if folder.config.exists():
            if not resume:
                raise ConfigError("run_exists", f"{folder.root} holds a run already; resume it or take a new folder.")
            before = load_config(folder.config)
            if before.config_hash() != config.config_hash() and not force:
                raise ConfigError(
                    "config_changed",
                    f"The config differs from the one {folder.root.name} was started with; resuming would mix two "
                    "runs. Take a new folder, or force it.",
                )
        write_durably(folder.config, (config.model_dump_json(indent=1) + "\n").encode())
        for leftover in (folder.cancel, folder.result):
            leftover.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError("run_folder", f"The run folder {folder.root} cannot be used: {error}.") from error


class StopFlag:
    """Set by SIGTERM, SIGINT or the file `cancel`; read at every step boundary."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self.reason = ""

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.reason = signal.Signals(number).name

    def __bool__(self) -> bool:
        if not self.reason and self._folder.cancel.exists():
            self.reason = "cancel file"
        return bool(self.reason)


@contextmanager
def _stop_requests(folder: RunFolder) -> Iterator[StopFlag]:
    flag = StopFlag(folder)
    before = {number: signal.signal(number, flag.on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def learning_rate(config: OptimizerConfig, step: int, steps: int) -> float:
    """The learning rate of step 0, 1, ... of `steps`."""
    warm = min(1.0, (step + 1) / (config.warmup_steps + 1))
    if config.schedule == "constant":
        return config.learning_rate * warm
    done = max(0, step - config.warmup_steps) / max(1, steps - config.warmup_steps)
    fall = 1 - done if config.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))
    return config.learning_rate * warm * fall


class _Run:
    def __init__(self, folder: RunFolder, config: RunConfig, events: EventWriter, stop: StopFlag) -> None:
        self.folder, self.config, self.events, self.stop = folder, config, events, stop
        self.step = 0
        self.snapshot_hash = ""
        self.checkpoint: str | None = None
        self.telemetry: Telemetry | None = None

    def go(self, snapshot_folder: Path, *, force: bool) -> RunResult:
        config = self.config
        if config.training.threads:
            torch.set_num_threads(config.training.threads)
        torch.manual_seed(config.training.seed)
        snapshot = verify_snapshot(snapshot_folder)
        self.snapshot_hash = snapshot.manifest.content_hash
        self._remember_snapshot(snapshot_folder, force=force)

        self.backbone = load_backbone(config.model.base, revision=config.model.revision, dtype=config.model.dtype)
        self.data = TrainingData(snapshot, self.backbone, held_out_pairs=config.validation.pairs)
        self.data.encode()
        self.grid = Grid(snapshot, self.backbone, config.samples)
        self.backbone.drop_text_encoders()
        self._add_adapter()
        self.parameters = self.backbone.trainable()
        self.optimizer = self._optimizer()

        self.builder = RowBuilder(self.data, self.backbone, config.objective, config.training.seed)
        sizes = [self.data.size(pair.condition_id) for pair in self.data.pairs]
        self.order = PairOrder(sizes, config.training.pairs_per_step, config.training.seed)
        self.slots = slots_of(config.training.pairs_per_step, config.training.micro_batch, config.objective)
        self.counts = counts_of(self.slots)
        self.held_out = HeldOut(self.data.held_out, self.builder, self.backbone, config.objective)
        self._announce_and_restore()
        return self._loop()

    def _remember_snapshot(self, path: Path, *, force: bool) -> None:
        record = {"folder": str(path.resolve()), "content_hash": self.snapshot_hash}
        if self.folder.snapshot.exists() and not force:
            before = json.loads(self.folder.snapshot.read_text())
            if before["content_hash"] != self.snapshot_hash:
                raise ConfigError(
                    "snapshot_changed",
                    f"The run was started on snapshot {before['content_hash'][:12]}, not {self.snapshot_hash[:12]}; "
                    "resuming would mix two runs. Take a new folder, or force it.",
                )
        write_durably(self.folder.snapshot, json.dumps(record, indent=1).encode())

    def _add_adapter(self) -> None:
        lora = self.config.lora
        if self.config.model.adapter:
            self.backbone.continue_adapter(Path(self.config.model.adapter))
        else:
            self.backbone.add_adapter(lora.rank, lora.alpha or lora.rank, lora.targets, self.config.training.seed)

    def _optimizer(self) -> torch.optim.AdamW:
        config = self.config.optimizer
        return torch.optim.AdamW(
            list(self.parameters.values()),
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
            eps=config.epsilon,
            weight_decay=config.weight_decay,
            foreach=False,
        )

    # --- start ----------------------------------------------------------------------------------------------------

    def _announce_and_restore(self) -> None:
        config, common = self.config, {"snapshot": self.snapshot_hash, "config_hash": self.config.config_hash()}
        good = last_good(self.folder)
        steps = config.training.steps
        self.telemetry = Telemetry(self.events, self.folder.tensorboard, good[0].step if good else 0)
        if good is None:
            self.telemetry.emit(
                Started(
                    **common, config=config.model_dump(mode="json"), total_steps=steps,
                    device=str(self.backbone.device), versions={"trainer": __version__, "torch": torch.__version__},
                )
            )  # fmt: skip
            self.telemetry.emit(Plan(values=plan(config, self.backbone.sizes(), len(self.data.pairs))))
        self._check_itself(good[0].step if good else 0)
        if good is not None:
            manifest, path, passed = good
            load_state(path, self.backbone, self.optimizer)
            self.step = manifest.step
            self.checkpoint = path.relative_to(self.folder.root).as_posix()
            self.telemetry.emit(Resumed(**common, step=self.step, checkpoint=self.checkpoint, total_steps=steps))
            for message in passed:
                self.telemetry.emit(Warn(step=self.step, code="checkpoint_damaged", message=message))

    def _check_itself(self, step: int) -> None:
        assert self.telemetry
        found, warning = check_masks(self.data)
        if warning:
            self.telemetry.emit(Warn(step=step, code="mask_thin", message=warning))
        self.optimizer.zero_grad(set_to_none=True)
        pairs = [self.data.pairs[index] for index in self.order.at(0)]
        batch, layout, terms = self._forward(0, pairs, self.slots[0], counts_of(self.slots[:1]))
        terms.loss.backward()
        try:
            found |= check_model(self.backbone, batch, layout, terms)
        except TrainerError as error:
            self.telemetry.emit(SelfCheck(step=step, passed=False, checks={**found, "failed": error.code}))
            raise
        self.optimizer.zero_grad(set_to_none=True)
        self.telemetry.emit(SelfCheck(step=step, passed=True, checks=found))

    # --- the loop -------------------------------------------------------------------------------------------------

    def _loop(self) -> RunResult:
        assert self.telemetry
        config, telemetry = self.config, self.telemetry
        steps = config.training.steps
        if self.step == 0 and not self.stop:
            self._look()
        telemetry.restart_clock()
        while self.step < steps:
            if self.stop:
                return self._cancel()
            figures = self._train_step()
            self.step += 1
            telemetry.add(self.step, figures, config.training.pairs_per_step)
            due = self.step % config.checkpoints.every == 0 or self.step == steps
            if due or self.step % config.training.log_every == 0:
                telemetry.flush(self.step)
            self._look()
            if due:
                self._save()
                telemetry.restart_clock()
        return self._finish()

    def _train_step(self) -> dict[str, float]:
        config = self.config
        pairs = [self.data.pairs[index] for index in self.order.at(self.step)]
        rate = learning_rate(config.optimizer, self.step, config.training.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        figures: dict[str, float] = {}
        for slots in self.slots:
            _, _, terms = self._forward(self.step, pairs, slots, self.counts)
            terms.loss.backward()
            for name, value in terms.figures.items():
                figures[name] = figures.get(name, 0.0) + value
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), config.optimizer.clip_norm, foreach=False)
        figures["grad_norm"] = float(norm)
        figures["learning_rate"] = rate
        if math.isfinite(figures["grad_norm"]):
            self.optimizer.step()
        return figures

    def _forward(
        self, step: int, pairs: list[Pair], slots: StepSlots, counts: StepCounts
    ) -> tuple[Batch, Layout, Terms]:
        """Two forwards: the reference's, then the policy's, over all rows of these slots at once."""
        objective = self.config.objective
        batch, layout = self.builder.build(step, pairs, slots)
        reference: Errors | None = None
        if layout.referenced:
            known = batch.first(layout.referenced)
            reference = errors_of(reference_prediction(self.backbone, known, GUIDANCE), batch, layout, objective)
        policy = errors_of(policy_prediction(self.backbone, batch, GUIDANCE), batch, layout, objective)
        return batch, layout, combine(policy, reference or policy, batch, layout, counts, objective)

    def _look(self) -> None:
        """Validation and samples where they are due; the first look, at step 0, is the base's."""
        assert self.telemetry
        config, last = self.config, self.step == self.config.training.steps
        looked = False
        if config.validation.every and (self.step % config.validation.every == 0 or last) and self.data.held_out:
            self.telemetry.emit(self.held_out.measure(self.step, GUIDANCE))
            looked = True
        if config.samples.every and (self.step % config.samples.every == 0 or last) and self.grid:
            self.telemetry.emit(self.grid.draw(self.step, self.folder))
            looked = True
        if looked:
            self.telemetry.restart_clock()

    # --- ends -----------------------------------------------------------------------------------------------------

    def _save(self) -> None:
        assert self.telemetry
        begun = time.monotonic()
        path = save_checkpoint(
            self.folder, self.step, self.backbone, self.optimizer, snapshot=self.snapshot_hash,
            config_hash=self.config.config_hash(), keep=self.config.checkpoints.keep,
        )  # fmt: skip
        self.checkpoint = path.relative_to(self.folder.root).as_posix()
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        seconds = time.monotonic() - begun
        self.telemetry.emit(CheckpointEvent(step=self.step, path=self.checkpoint, bytes=size, seconds=seconds))

    def _cancel(self) -> RunResult:
        assert self.telemetry
        self.telemetry.flush(self.step)
        if self.step and self.checkpoint != f"checkpoints/{self.folder.checkpoint(self.step).name}":
            self._save()
        self.telemetry.emit(Cancelled(step=self.step, checkpoint=self.checkpoint, reason=self.stop.reason))
        self.telemetry.close()
        return self._result("cancelled", ExitCode.CANCELLED, message=f"Stopped by {self.stop.reason}.")

    def _finish(self) -> RunResult:
        assert self.telemetry
        publish_adapter(self.folder, self.backbone)
        values = {"peak_memory_bytes": peak_memory_bytes()}
        self.telemetry.emit(Finished(step=self.step, adapter=self.folder.adapter.name, values=values))
        self.telemetry.close()
        return self._result("finished", ExitCode.FINISHED, adapter=self.folder.adapter.name, values=values)

    def fail(self, code: str, message: str, exit_code: ExitCode) -> None:
        """Leave the error in the event stream and in result.json."""
        try:
            self.events.write(Failed(step=self.step, code=code, message=message, exit_code=int(exit_code)))
            self._result("failed", exit_code, message=message)
        except OSError:
            return  # a full disk has no room for the words either; the exit code still tells

    def _result(
        self,
        state: str,
        exit_code: ExitCode,
        *,
        adapter: str | None = None,
        values: dict[str, float] | None = None,
        message: str = "",
    ) -> RunResult:
        result = RunResult(
            state=state, exit_code=int(exit_code), step=self.step, total_steps=self.config.training.steps,
            adapter=adapter, checkpoint=self.checkpoint, snapshot=self.snapshot_hash,
            config_hash=self.config.config_hash(), values=values or {}, message=message,
        )  # fmt: skip
        write_durably(self.folder.result, (result.model_dump_json(indent=1) + "\n").encode())
        return result
