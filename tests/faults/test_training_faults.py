"""Real trainings under real workers: killed, stopped, cancelled and resumed, no step is lost or told twice."""

import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from sqlalchemy import func, select

from backend.catalogue.models import Generator
from backend.jobs.bell import attach_bell
from backend.jobs.celery_app import make_celery, make_ring
from backend.jobs.models import Job
from backend.kit.blobs import LocalBlobs
from backend.training import repository, service, views
from backend.training.models import ACTIVE_RUN_STATES, Attempt, Run
from backend.training.places import workplace
from backend.training.schemas import RunIn
from tests.backend.training.conftest import make_world
from tests.faults.conftest import Ground, WorkerProcess, eventually
from tests.trainer.conftest import pipeline_folder  # noqa: F401  # a fixture
from trainer.contract.events import read_events

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
# A step takes this trainer 30 ms: enough of them that it is still at work when a cancellation or a signal reaches it.
STEPS = 240
CHECKPOINT_EVERY = 3
LOOK_EVERY = 60
# From a start to its first step a trainer loads its libraries, which takes a busy machine its time.
START_SECONDS = 300.0
SETTINGS = {
    "training.steps": STEPS,
    "training.pairs_per_step": 2,
    "checkpoints.every": CHECKPOINT_EVERY,
    "samples.every": LOOK_EVERY,
    "samples.conditions": 1,
    "validation.every": LOOK_EVERY,
}


@dataclass
class Training:
    """A run under test, on one size of the service."""

    ground: Ground
    run_id: int
    project_id: int

    def start_worker(self) -> WorkerProcess:
        log = self.ground.folder / f"gpu-worker-{len(self.ground.workers)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "backend.cli", "worker", "--queue", "gpu"],
                cwd=self.ground.folder,
                env=self.ground.environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        worker = WorkerProcess(process, log)
        self.ground.workers.append(worker)
        eventually(worker.is_ready, "the worker is ready")
        return worker

    @property
    def folder(self) -> Path:
        return workplace(self.ground.settings.home, self.run_id).root

    @property
    def run(self) -> Run:
        with self.ground.database.reading() as session:
            return session.get_one(Run, self.run_id)

    @property
    def attempts(self) -> list[Attempt]:
        with self.ground.database.reading() as session:
            return repository.attempts(session, self.run_id)

    @property
    def trainer(self) -> psutil.Process:
        """The one process that trains; a second one fails the test."""
        (found,) = (process for process in self.processes() if process.cmdline()[1:3] == ["-m", "trainer"])
        return found

    def processes(self) -> list[psutil.Process]:
        """All living processes that were started for this run."""
        found = []
        for process in psutil.process_iter(["cmdline", "status"]):
            line = process.info["cmdline"] or []
            if str(self.folder / "config.json") in line and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process)
        return found

    def wait_for_step(self, step: int) -> None:
        """Waits until the newest attempt's trainer has told of a later step than `step`."""
        events_file = workplace(self.ground.settings.home, self.run_id).out.events

        def reached() -> bool:
            metrics = [event for event in read_events(events_file)[0] if event.kind == "metrics"]
            assert self.run.state in ACTIVE_RUN_STATES, (self.run.state, self.run.failure)
            return bool(metrics) and metrics[-1].step >= step

        eventually(reached, f"step {step} is done", START_SECONDS)

    def wait_for_state(self, state: str, seconds: float = START_SECONDS) -> None:
        eventually(lambda: self.run.state == state, f"the run is {state}", seconds)

    def expect_no_process(self) -> None:
        eventually(lambda: not self.processes(), "no process of the run is left", 20)

    def expect_whole(self, outcomes: list[str]) -> None:
        """One finish, one generator, every step once on the curves, attempts with these ends, nothing left running."""
        assert [attempt.outcome for attempt in self.attempts] == outcomes
        with self.ground.database.reading() as session:
            run = session.get_one(Run, self.run_id)
            events = repository.all_events(session, self.run_id)
            curves = {f"{curve.source}/{curve.name}": curve for curve in views.curves(session, run).series}
            tuned = session.scalar(select(func.count()).where(Generator.run_id == self.run_id))
            makes = session.scalar(select(func.count()).where(Job.kind == "generation.make"))
            looks = sorted({sample.step for sample in repository.samples(session, self.run_id)})
        assert (run.state, run.step, run.failure) == ("finished", STEPS, None)
        assert [event.seq for event in events] == list(range(len(events)))
        assert Counter(event.kind for event in events)["finished"] == 1
        assert curves["metrics/loss"].steps == list(range(1, STEPS + 1))
        assert curves["validation/margin"].steps == looks == list(range(0, STEPS + 1, LOOK_EVERY))
        assert (tuned, makes) == (1, 1)
        self.expect_no_process()


@pytest.fixture
def training(ground: Ground, pipeline_folder: Path) -> Iterator[Training]:  # noqa: F811  # the fixture
    ground.environment["INPAINTDPO_GPU_SLOTS"] = "1"
    blobs = LocalBlobs(ground.settings.home.absolute() / "blobs")
    world = make_world(ground.database, blobs, ground.folder / "frozen")
    attach_bell(ground.database, make_ring(make_celery(ground.settings)))
    with ground.database.transaction() as session:
        session.get_one(Generator, world.generator_id).base = str(pipeline_folder)
        project = repository.project(session, world.project_id)
        request = RunIn(snapshot_id=world.snapshot_id, recipe="spatialworld_smoke", overrides=SETTINGS)
        run_id = service.start_run(session, world.lead, project, request).id
    training = Training(ground, run_id, world.project_id)
    yield training
    for process in training.processes():
        process.kill()


def test_killed_trainers_and_workers_lose_nothing(training: Training) -> None:
    first = training.start_worker()
    training.wait_for_step(random.randint(1, 8))
    training.trainer.send_signal(signal.SIGKILL)
    eventually(lambda: len(training.attempts) == 2, "a second attempt begins", START_SECONDS)
    training.wait_for_step(random.randint(10, 16))
    second = training.start_worker()
    first.signal(signal.SIGKILL)
    training.wait_for_state("finished", 2 * START_SECONDS)
    assert training.attempts[-1].worker.endswith(f"/{second.process.pid}")
    training.expect_whole(["killed", "lost", "finished"])


def test_a_cancelled_run_is_resumed_and_a_stopped_worker_hands_it_back(training: Training) -> None:
    first = training.start_worker()
    training.wait_for_step(random.randint(1, 8))
    with training.ground.database.transaction() as session:
        service.cancel_run(session, None, session.get_one(Run, training.run_id))
    training.wait_for_state("cancelled", 60)
    training.expect_no_process()
    stopped_at = training.run.step
    with training.ground.database.transaction() as session:
        project = repository.project(session, training.project_id)
        service.resume_run(session, None, project, session.get_one(Run, training.run_id))
    training.wait_for_step(stopped_at + random.randint(1, 6))
    first.signal(signal.SIGTERM)
    first.process.wait(timeout=60)
    training.expect_no_process()
    assert training.run.state == "running"
    training.start_worker()
    training.wait_for_state("finished", START_SECONDS)
    training.expect_whole(["cancelled", "handed_back", "finished"])
