"""Workers of a study: what a stop leaves undone."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from trainer.spatialworld.study.run import KEEP_MEMORY, Interrupted, Progress, perform_all, workers_of
from trainer.spatialworld.study.scale import SMOKE, Study


@dataclass(frozen=True)
class Stopped:
    """A task that is asked to stop while it runs, and does so in its own way, as a training does."""

    name: str

    def done(self, study: Study) -> bool:
        return False

    def cost(self, study: Study) -> float:
        return 1.0

    def run(self, study: Study) -> str:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        (study.root / f"{self.name}-{os.getpid()}").touch()
        raise Interrupted(self.name)


def test_a_worker_that_was_stopped_begins_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", *KEEP_MEMORY):  # as they are set for workers; here for this test only
        monkeypatch.setenv(name, "1")
    study = Study(tmp_path, SMOKE, workers=2)
    progress = Progress(study)
    with pytest.raises(Interrupted), workers_of(study) as executor:
        perform_all(study, [Stopped(f"task {number}") for number in range(8)], executor, progress)
    workers = [path.name.rpartition("-")[2] for path in tmp_path.glob("task*")]
    assert workers and len(workers) == len(set(workers))
