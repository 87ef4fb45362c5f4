"""One training run, top to bottom: open, encode, check, train, publish.

In: a snapshot folder and a config. Out: the run folder of `trainer.contract.checkpoint`. Everything random is a
function of (seed, purpose, item, step), so a run that was stopped anywhere goes on to the same bits on the CPU.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from trainer import __version__
from trainer.backbones.load import load_backbone
from trainer.card import model_card
from trainer.checkpoint import last_good, load_state, publish, save_checkpoint
from trainer.contract.checkpoint import CheckpointManifest, RunFolder, RunResult
from trainer.contract.config import RunConfig
from trainer.contract.errors import ExitCode, TrainerError, disk_problem
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
from trainer.contract.snapshot import Pair, Snapshot, verify_snapshot
from trainer.data.rows import StepSlots
from trainer.data.source import Progress
from trainer.evaluation.grid import Grid
from trainer.evaluation.held_out import HeldOut
from trainer.export import base_folder
from trainer.kernels import choose_kernels
from trainer.objectives import error_map, next_beta
from trainer.parallel import Processes
from trainer.planner import plan
from trainer.planning.meter import metered
from trainer.policy import Policy
from trainer.prepare import add_policy, prepare, prepare_reference
from trainer.reference import GUIDANCE, policy_prediction, with_residuals
from trainer.schedule import learning_rate
from trainer.self_check import check_data, check_model
from trainer.sinks import open_sinks
from trainer.start import (
    StopFlag,
    StopRequested,
    accept_snapshot,
    check_processes,
    check_watched,
    open_folder,
    stop_requests,
)
from trainer.telemetry import SilentTelemetry, Telemetry, check_finite, peak_memory_bytes
from trainer.terms import Errors, StepCounts, Terms, combine, counts_of, errors_of

if TYPE_CHECKING:
    from trainer.data.rows import Batch, Layout
    from trainer.sinks import Sink


def train(
    snapshot_folder: Path,
    config: RunConfig,
    out: Path,
    *,
    resume: bool = False,
    force: bool = False,
    cache: Path | None = None,
    predicted: Mapping[str, float] | None = None,
    sinks: Sequence[Sink] = (),
) -> RunResult:
    """Train to the end, to a cancel, or to an error; the run folder tells which.

    `resume` goes on from the last good checkpoint, or starts where there is none. A changed snapshot or config, or a
    stale reference cache, is refused unless `force`. What is encoded is kept in `cache`, which runs may share; without
    one it lies in the run folder until the run is finished. `sinks` are told every event beside those that the config
    asks for. Under torchrun every process calls this with the same arguments and folders that all can read; the first
    one writes. Raises TrainerError after writing it to the event stream.
    """
    folder = RunFolder(out)
    with ExitStack() as stack:
        processes = stack.enter_context(Processes.from_environment())
        config = processes.agree(config)  # each has fitted it to what it saw of the machine
        stop = stack.enter_context(stop_requests(folder, "step" if processes.main else None))
        processes.once(lambda: open_folder(folder, config, resume=resume, force=force))
        events = stack.enter_context(EventWriter(folder.events)) if processes.main else None
        telemetry = Telemetry(events, sinks) if events else SilentTelemetry()
        run = _Run(folder, config, telemetry, stop, cache, processes, predicted or {})
        try:
            return run.go(snapshot_folder, force=force)
        except TrainerError as error:
            run.fail(error.code, error.message, error.exit_code)
            raise
        except KeyboardInterrupt:
            run.leave("a second Ctrl-C")
            raise
        except Exception as error:
            if problem := disk_problem(error):
                run.fail(problem.code, problem.message, problem.exit_code)
                raise problem from error
            run.fail("unforeseen", f"{type(error).__name__}: {error}", ExitCode.FAILED)
            raise


class _Run:
    def __init__(
        self,
        folder: RunFolder,
        config: RunConfig,
        telemetry: Telemetry,
        stop: StopFlag,
        cache: Path | None,
        processes: Processes,
        predicted: Mapping[str, float],
    ) -> None:
        self.folder, self.config, self.telemetry, self.stop = folder, config, telemetry, stop
        self.processes, self.main = processes, processes.main
        self.cache = cache or folder.cache
        self.predicted = predicted
        self.beta = config.objective.beta
        self.step = 0
        self.snapshot_hash = ""
        self.checkpoint: str | None = None

    def go(self, snapshot_folder: Path, *, force: bool) -> RunResult:
        config = self.config
        if config.training.threads:
            torch.set_num_threads(config.training.threads)
        torch.manual_seed(config.training.seed)
        snapshot = verify_snapshot(snapshot_folder)
        check_watched(config, snapshot)
        self.snapshot_hash = snapshot.manifest.content_hash
        self.good = self.processes.once(lambda: last_good(self.folder))
        count = self.processes.count
        check_processes(self.good[0].processes if self.good else count, count, force=force)
        self.processes.once(lambda: accept_snapshot(self.folder, snapshot_folder, self.snapshot_hash, force=force))
        if self.good:
            self.step, self.checkpoint = self.good[0].step, self._relative(self.good[1])
        self.processes.once(lambda: self.telemetry.open(open_sinks(self.folder, config, self.step)))
        self.snapshot = snapshot
        self.backbone = load_backbone(
            config.model.base, revision=config.model.revision, dtype=config.model.dtype,
            device=self.processes.device, encoders=False,
        )  # fmt: skip
        self._announce()
        try:
            self._prepare(snapshot, force=force)
        except StopRequested:
            return self._cancel()
        kept = self.good[0].attention if self.good else None
        with choose_kernels(config.training, self.backbone, kept, self._first_forward, self.processes) as self.kernels:
            self._check_itself()
            self._restore()
            return self._loop()

    # --- start ----------------------------------------------------------------------------------------------------

    def _announce(self) -> None:
        if self.good is None:
            self.telemetry.emit(
                Started(
                    snapshot=self.snapshot_hash, config_hash=self.config.config_hash(),
                    config=self.config.model_dump(mode="json"), total_steps=self.config.training.steps,
                    device=str(self.backbone.device), versions={"trainer": __version__, "torch": torch.__version__},
                )
            )  # fmt: skip

    def _prepare(self, snapshot: Snapshot, *, force: bool) -> None:
        """Encode what the run needs, let the encoders go, and set policy, reference and optimizer up."""
        config, backbone = self.config, self.backbone
        self.schedule = prepare(config, snapshot, backbone, self.cache, self._progress("encode"), self.processes)
        full = config.training.method == "full"
        self.processes.check_forwards(len(self.schedule.slots), sharded=full)
        self.data, self.builder = self.schedule.data, self.schedule.builder
        self.grid = Grid(self.data, backbone, config.samples)
        backbone.drop_text_encoders()
        if self.grid:
            backbone.load_encoders("vae", "Images are shown as training goes on (samples.every)")
        else:
            backbone.drop_vae()
        add_policy(config, backbone, self.processes)
        self.policy = Policy(config, backbone)
        if self.good is None:
            values = plan(config, backbone.sizes(), len(self.data.pairs)) | dict(self.predicted)
            self.telemetry.emit(Plan(values=values))
        self.reference = prepare_reference(
            config, backbone, self.schedule, self.cache, self._progress("reference"), self.processes, force=force
        )
        self.held_out = HeldOut(
            self.data.held_out, self.builder, backbone, config.objective, self.reference,
            self.schedule.pairs_at_once,
        )  # fmt: skip

    def _progress(self, what: str) -> Progress:
        """A report that also heeds a wish to stop: several processes together, whichever of them was asked."""

        def report(done: int, total: int) -> None:
            self.telemetry.progress(self.step, what, done, total)
            if done < total and self.processes.any(bool(self.stop)):
                raise StopRequested

        return report

    def _restore(self) -> None:
        if self.good is None:
            return
        manifest, path, passed = self.good
        load_state(path, manifest, self.policy)
        self.beta = self.beta if manifest.beta is None else manifest.beta
        self.telemetry.emit(
            Resumed(
                snapshot=self.snapshot_hash, config_hash=self.config.config_hash(), step=self.step,
                checkpoint=self._relative(path), total_steps=self.config.training.steps,
            )
        )  # fmt: skip
        for message in passed:
            self.telemetry.emit(Warn(step=self.step, code="checkpoint_damaged", message=message))

    def _check_itself(self) -> None:
        found, warnings = check_data(self.data, self.backbone)
        found |= {f"attention_{name}_seconds": seconds for name, seconds in self.kernels.seconds.items()}
        for code, message in warnings.items():
            self.telemetry.emit(Warn(step=self.step, code=code, message=message))
        with metered() if self.predicted and self.processes.count == 1 else nullcontext() as meter:
            batch, layout, terms = self._first_forward()
        measured = {"flops_per_forward": meter.flops} if meter else {}
        self.telemetry.expect(self.predicted, measured, self.processes.count)
        try:
            found |= check_model(self.backbone, batch, layout, terms, frozen=self._has_frozen_model())
        except TrainerError as error:
            self.telemetry.emit(SelfCheck(step=self.step, passed=False, checks={**found, "failed": error.code}))
            raise
        self.policy.optimizer.zero_grad(set_to_none=True)
        self.telemetry.emit(SelfCheck(step=self.step, passed=True, checks=found))

    def _has_frozen_model(self) -> bool:
        return self.config.training.method == "lora" or self.config.reference.source == "model"

    def _first_forward(self) -> tuple[Batch, Layout, Terms]:
        self.policy.optimizer.zero_grad(set_to_none=True)
        slots = self.schedule.slots[:1]
        batch, layout, terms = self._forward(0, self.schedule.pairs(0), slots[0], counts_of(slots))
        terms.loss.backward()
        return batch, layout, terms

    # --- the loop -------------------------------------------------------------------------------------------------

    def _loop(self) -> RunResult:
        config, telemetry, steps = self.config, self.telemetry, self.config.training.steps
        if self.step == 0 and not self.processes.any(bool(self.stop)):
            self._look()
        telemetry.restart_clock()
        while self.step < steps and not self.policy.early_stop.due:
            if self.processes.any(bool(self.stop)):
                return self._cancel()
            figures = self._train_step()
            self.step += 1
            telemetry.add(self.step, figures, config.training.pairs_per_step)
            due = self.step % config.checkpoints.every == 0 or self.step == steps
            if due or self.step % config.training.log_every == 0:
                telemetry.flush(self.step)
            self._look()
            if due:
                with telemetry.paused():
                    self._save()
        return self._finish()

    def _train_step(self) -> dict[str, float]:
        config = self.config
        pairs = self.schedule.pairs(self.step)
        self.policy.optimizer.zero_grad(set_to_none=True)
        figures: dict[str, float] = {}
        for slots in self.processes.share(self.schedule.slots):
            _, _, terms = self._forward(self.step, pairs, slots, self.schedule.counts)
            terms.loss.backward()
            for name, value in terms.figures.items():
                figures[name] = figures.get(name, 0.0) + value
        if config.training.method == "lora":
            self.processes.sum_gradients(self.policy.parameters.values())
        figures = self.processes.sum_figures(figures)
        rate = learning_rate(config.optimizer, self.step, config.training.steps)
        figures["grad_norm"] = self.policy.update(self.step, rate)
        figures["learning_rate"] = rate
        if config.objective.auto_beta.target is not None:
            figures["beta"] = self.beta
            self.beta = next_beta(
                self.beta, figures["sigmoid_negative_margin"], **config.objective.auto_beta.model_dump()
            )
        return figures

    def _forward(
        self, step: int, pairs: list[Pair], slots: StepSlots, counts: StepCounts
    ) -> tuple[Batch, Layout, Terms]:
        """The policy's forward over all rows of these slots at once, and the reference's, where it is a model."""
        objective = self.config.objective.model_copy(update={"beta": self.beta})
        batch, layout = self.builder.build(step, pairs, slots)
        batch = with_residuals(self.backbone, batch, GUIDANCE)
        reference: Errors | None = None
        if layout.referenced:
            reference = errors_of(self.reference.maps(batch.first(layout.referenced)), batch, layout, objective)
        predicted = error_map(policy_prediction(self.backbone, batch, GUIDANCE), batch.target)
        policy = errors_of(predicted, batch, layout, objective)
        return batch, layout, combine(policy, reference or policy, batch, layout, counts, objective)

    def _look(self) -> None:
        """Validation and samples where they are due, of the weights that are published; at step 0, of the base's."""
        config, last = self.config, self.step == self.config.training.steps
        validate, sample = config.validation.every, config.samples.every
        validating = validate and (self.step % validate == 0 or last) and bool(self.data.held_out)
        sampling = sample and (self.step % sample == 0 or last) and bool(self.grid)
        if not validating and not sampling:
            return
        with self.telemetry.paused(), self.policy.shown():
            if validating:
                found = self.processes.agree(self.held_out.measure(self.step, GUIDANCE))
                check_finite(self.step, found.values, found.values)
                self.telemetry.emit(found)
                self.policy.early_stop.look(self.step, found.values, self.policy.parameters)
            if sampling:
                self.telemetry.emit(self.grid.draw(self.step, self.folder, write=self.main))

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.folder.root).as_posix()

    # --- ends -----------------------------------------------------------------------------------------------------

    def _save(self) -> None:
        begun = time.monotonic()
        manifest = CheckpointManifest(
            step=self.step, snapshot=self.snapshot_hash, config_hash=self.config.config_hash(),
            sampler={"next_step": self.step}, early_stop=self.policy.early_stop.state, processes=self.processes.count,
            attention=self.kernels.attention, beta=self.beta,
        )  # fmt: skip
        path = save_checkpoint(self.folder, manifest, self.policy, keep=self.config.checkpoints.keep, write=self.main)
        self.processes.wait()
        self.checkpoint = self._relative(path)
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        seconds = time.monotonic() - begun
        self.telemetry.emit(CheckpointEvent(step=self.step, path=self.checkpoint, bytes=size, seconds=seconds))

    def _cancel(self) -> RunResult:
        self.telemetry.flush(self.step)
        if self.step and self.checkpoint != f"checkpoints/{self.folder.checkpoint(self.step).name}":
            self._save()
        return self.leave(self.stop.reason or "a request to another process")

    def leave(self, reason: str) -> RunResult:
        """End as cancelled, with the checkpoint that there is."""
        self.telemetry.end(Cancelled(step=self.step, checkpoint=self.checkpoint, reason=reason))
        return self._result("cancelled", ExitCode.CANCELLED, message=f"Stopped by {reason}.")

    def _finish(self) -> RunResult:
        full, early = self.config.training.method == "full", self.policy.early_stop
        self.telemetry.flush(self.step)
        published = int(early.state.get("best_step", self.step))
        card = model_card(self.folder, self.config, self.snapshot, published, self.backbone)
        path = publish(self.folder, self.policy, base_folder(self.config) if full else None, card, write=self.main)
        self.processes.wait()
        if self.main:
            shutil.rmtree(self.folder.cache, ignore_errors=True)
        values = {"peak_memory_bytes": peak_memory_bytes()}
        if early.state:
            values |= {"best_step": early.state["best_step"], "stopped_early": float(early.due)}
        product = {self.policy.product: path.name}
        self.telemetry.end(Finished(step=self.step, values=values, **product))
        return self._result("finished", ExitCode.FINISHED, values=values, **product)

    def fail(self, code: str, message: str, exit_code: ExitCode) -> None:
        """Leave the error in stream, sinks and result.json; what was refused leaves an earlier result."""
        with suppress(OSError):  # a full disk has no room for the words either; the exit code still tells
            self.telemetry.end(Failed(step=self.step, code=code, message=message, exit_code=int(exit_code)))
            self._result("failed", exit_code, message=message)

    def _result(
        self,
        state: str,
        exit_code: ExitCode,
        *,
        adapter: str | None = None,
        model: str | None = None,
        values: dict[str, float] | None = None,
        message: str = "",
    ) -> RunResult:
        result = RunResult(
            state=state, exit_code=int(exit_code), step=self.step, total_steps=self.config.training.steps,
            adapter=adapter, model=model, checkpoint=self.checkpoint, snapshot=self.snapshot_hash,
            config_hash=self.config.config_hash(), values=values or {}, message=message,
        )  # fmt: skip
        if self.main and not self.folder.result.exists():
            write_durably(self.folder.result, (result.model_dump_json(indent=1) + "\n").encode())
        return result
