"""Run a study: its phases in order, each phase's tasks by workers; what is there already is not made again."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict
from multiprocessing import active_children, connection, get_context, parent_process
from pathlib import Path

from trainer.contract.files import sha256_file, write_durably
from trainer.spatialworld.study.plan import (
    all_tasks,
    arm_tasks,
    base_tasks,
    candidate_tasks,
    chosen_settings,
    data_tasks,
    pair_tasks,
    terms_tasks,
    trial_tasks,
)
from trainer.spatialworld.study.scale import SCALES, Study, spend_seconds
from trainer.spatialworld.study.tasks import Interrupted, Task

SETTINGS = "study.json"
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": 2**32, "MALLOC_TRIM_THRESHOLD_": 2**33}
"""Bytes: what a worker's allocator keeps for itself."""


def open_study(scale: str, out: Path, base: str | None, workers: int | None) -> Study:
    """The study of a folder, new or begun earlier. Raises ValueError where the folder holds another one."""
    cores = os.cpu_count() or 1
    study = Study(out, SCALES[scale], base, threads=1 if scale != "gpu" else cores, workers=workers or _workers(scale))
    settings = {"base": study.base, "files": _base_files(study), "scale": json.loads(json.dumps(asdict(study.scale)))}
    path = out / SETTINGS
    if path.exists():
        before = json.loads(path.read_text())
        if {key: before.get(key) for key in settings} != settings:
            raise ValueError(
                f"{out} holds a study of scale {before['scale']['name']!r} with other sizes or another base: choose "
                "another folder with --out, or remove it."
            )
        return study
    out.mkdir(parents=True, exist_ok=True)
    write_durably(path, json.dumps(settings, indent=1).encode())
    return study


def _base_files(study: Study) -> dict[str, str] | None:
    """SHA-256 of what decides the base's images: it may change under one name. None for a base that the study makes."""
    if study.scale.pretrain_steps and study.given_base is None:
        return None
    from trainer.spatialworld import pipeline_path

    folder = Path(study.given_base).expanduser() if study.given_base else pipeline_path()
    for name in ("transformer/diffusion_pytorch_model.safetensors", "scheduler/scheduler_config.json"):
        if not (folder / name).is_file():
            raise ValueError(f"{folder} holds no pipeline of SpatialWorld: {name} is missing.")
    decisive = sorted([*folder.glob("*/*.safetensors"), folder / "scheduler" / "scheduler_config.json"])
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in decisive}


def _workers(scale: str) -> int:
    return {"smoke": 1, "cpu": os.cpu_count() or 1, "gpu": 1}[scale]


def run_study(study: Study) -> None:
    """Make everything that is missing. Raises Interrupted when asked to stop."""
    progress = Progress(study)
    with workers_of(study) as executor:
        for tasks in (base_tasks, candidate_tasks, pair_tasks, trial_tasks):
            perform_all(study, tasks(study), executor, progress)
        settings = chosen_settings(study)
        trainings = [task for tasks in (arm_tasks, data_tasks, terms_tasks) for task in tasks(study, settings)]
        perform_all(study, trainings, executor, progress)


class Progress:
    """Prints a line a finished task, with the time left at the speed so far."""

    def __init__(self, study: Study) -> None:
        self._study = study
        tasks = list(all_tasks(study))
        self._all = len(tasks)
        missing = [task for task in tasks if not task.done(study)]
        self._finished = self._all - len(missing)
        self._left = sum(task.cost(study) for task in missing)
        self._spent = 0.0
        self._begun = self._noted = time.monotonic()
        if self._finished:
            self.say(f"{self._finished} of {self._all} parts are there already; going on")

    def finished(self, task: Task, words: str) -> None:
        """Note a finished task."""
        now = time.monotonic()
        spend_seconds(self._study.root, now - self._noted)
        self._noted = now
        cost = task.cost(self._study)
        self._finished += 1
        self._spent += cost
        self._left -= cost
        elapsed = now - self._begun
        left = f"; about {_duration(elapsed / self._spent * max(0.0, self._left))} left" if self._spent else ""
        self.say(f"[{self._finished}/{self._all}] {task.name}: {words}{left}")

    def say(self, text: str) -> None:
        """One line on standard error, at once."""
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


# --- workers ------------------------------------------------------------------------------------------------------


def perform_all(study: Study, tasks: Sequence[Task], executor: ProcessPoolExecutor | None, progress: Progress) -> None:
    missing = [task for task in tasks if not task.done(study)]
    if executor is None:
        for task in missing:
            progress.finished(task, perform(task, study))
        return
    waiting: dict[Future[str], Task] = {executor.submit(perform_in_worker, task, study): task for task in missing}
    while waiting:
        for future in wait(waiting, return_when=FIRST_COMPLETED).done:
            progress.finished(waiting.pop(future), future.result())


def perform(task: Task, study: Study) -> str:
    """Run one task, in whichever process."""
    import torch
    from diffusers.utils import logging as diffusers_logging

    torch.set_num_threads(study.threads)
    diffusers_logging.set_verbosity_error()  # it warns of an adapter that leaves the text encoders alone, as ours does
    return task.run(study)


_stopped = threading.Event()


def perform_in_worker(task: Task, study: Study) -> str:
    """Run one task, unless this worker was asked to stop: it holds tasks ahead that nobody can take back."""
    if _stopped.is_set():
        raise Interrupted(task.name)
    try:
        return perform(task, study)
    except Interrupted:
        _stopped.set()
        raise


@contextmanager
def workers_of(study: Study) -> Iterator[ProcessPoolExecutor | None]:
    """The workers; None where one process does it all."""
    if study.workers == 1:
        yield None
        return
    # Else glibc gives freed memory back and asks for it anew at each operation: a tenth of the time.
    for name, value in {"OMP_NUM_THREADS": study.threads, **KEEP_MEMORY}.items():
        os.environ.setdefault(name, str(value))
    executor = ProcessPoolExecutor(study.workers, mp_context=get_context("spawn"), initializer=_live_with_parent)
    try:
        yield executor
    except BaseException:
        for worker in active_children():
            worker.terminate()  # a training in it publishes a checkpoint first
        raise
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _live_with_parent() -> None:
    """End this worker when the study's process is gone, however that ended: nobody would wait for its work."""
    parent = parent_process()

    def watch() -> None:
        if parent is not None:
            connection.wait([parent.sentinel])
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


__all__ = ["Interrupted", "open_study", "run_study"]
