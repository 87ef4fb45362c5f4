"""From a real event stream into the database: once each, over restarts, with what earlier attempts undid left out."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from backend.jobs.context import JobContext
from backend.jobs.errors import LostLease
from backend.jobs.service import claim, reap
from backend.kit.blobs import LocalBlobs
from backend.kit.database import Database
from backend.settings import Settings
from backend.training import repository, views
from backend.training.ingest import Ingest
from backend.training.models import Attempt, Run
from backend.training.places import workplace
from backend.training.tasks import begin_attempt
from tests.backend.jobs.conftest import Lapse, lapse  # noqa: F401  # a fixture
from tests.backend.training.conftest import World
from trainer.contract.checkpoint import RunFolder
from trainer.contract.events import (
    CheckpointEvent,
    EventWriter,
    Metrics,
    Resumed,
    Sample,
    SampleImage,
    Started,
    Validation,
)

Open = Callable[[], Ingest]
STARTED = Started(snapshot="s", config_hash="c", config={}, total_steps=6)
RESUMED = Resumed(snapshot="s", config_hash="c", total_steps=6, checkpoint="checkpoints/step-000002", step=2)


@pytest.fixture
def run_id(lead: TestClient, world: World) -> int:
    return lead.post("/api/v1/runs", json=world.body()).json()["id"]


@pytest.fixture
def open_ingest(settings: Settings, database: Database, blobs: LocalBlobs, run_id: int) -> Open:
    """Claims the run's job, begins an attempt and returns its ingest."""

    def begin() -> Ingest:
        with database.transaction() as session:
            held = claim(session, queues=("gpu",), worker="tests", lease_seconds=30, ignore_backoff=True)
        assert held is not None
        context = JobContext(settings=settings, database=database, blobs=blobs, claim=held, worker="tests")
        start = begin_attempt(context, run_id)
        assert start is not None
        place = workplace(settings.home, run_id)
        place.out.root.mkdir(parents=True, exist_ok=True)
        ingest = Ingest(context, run_id, start.attempt_id, place.out, place.log(start.number), total_steps=6)
        ingest.restore_stream()
        return ingest

    return begin


def metrics(step: int, loss: float) -> Metrics:
    return Metrics(step=step, values={"loss": loss, "d_win": -loss})


def draw(folder: RunFolder, step: int, shade: int) -> Sample:
    """A sample event whose image really lies in the run's folder."""
    path = folder.samples(step) / "c0-7.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, shade, shade)).save(buffer, "PNG")
    path.write_bytes(buffer.getvalue())
    name = path.relative_to(folder.root).as_posix()
    return Sample(step=step, images=[SampleImage(condition_id="c0", seed=7, image=name, prompt="a car", rational=True)])


def publish(folder: RunFolder, step: int) -> CheckpointEvent:
    path = folder.checkpoint(step)
    path.mkdir(parents=True)
    (path / "manifest.json").write_text(f'{{"step": {step}}}')
    return CheckpointEvent(step=step, path=path.relative_to(folder.root).as_posix(), bytes=10)


def test_events_samples_and_checkpoints_are_taken_in_once(open_ingest: Open, database, lead, run_id) -> None:
    ingest = open_ingest()
    with EventWriter(ingest.folder.events) as writer:
        writer.write(STARTED)
        writer.write(metrics(1, 0.9))
        ingest.poll()
        writer.write(draw(ingest.folder, 2, 10))
        writer.write(publish(ingest.folder, 2))
    ingest.poll()
    ingest.poll()
    ingest.offset = 0
    ingest.seen = -1  # as a worker would that knows nothing of what was stored
    ingest.poll()
    events = lead.get(f"/api/v1/runs/{run_id}/events").json()
    assert [(event["seq"], event["kind"]) for event in events["items"]] == [
        (0, "started"), (1, "metrics"), (2, "sample"), (3, "checkpoint"),
    ]  # fmt: skip
    assert events["last_seq"] == 3
    assert lead.get(f"/api/v1/runs/{run_id}/events", params={"after": 2}).json()["items"][0]["kind"] == "checkpoint"
    detail = lead.get(f"/api/v1/runs/{run_id}").json()
    assert (detail["step"], [point["step"] for point in detail["checkpoints"]]) == (2, [2])
    assert detail["attempts"][0] | {"worker": "", "started_at": ""} == {
        "number": 1, "worker": "", "started_at": "", "ended_at": None, "outcome": None, "exit_code": None,
        "first_step": 0, "last_step": 2,
    }  # fmt: skip
    with database.reading() as session:
        grid = views.sample_grid(session, run_id)
        assert grid[2][0]["label"] == "a car" and grid[2][0]["rational"] is True


def test_steps_done_again_count_once(open_ingest: Open, database: Database, lapse: Lapse, run_id: int) -> None:  # noqa: F811  # the fixture
    first = open_ingest()
    with EventWriter(first.folder.events) as writer:
        writer.write(STARTED)
        for step in (1, 2):
            writer.write(metrics(step, 1.0))
        writer.write(publish(first.folder, 2))
        for step in (3, 4):
            writer.write(metrics(step, 5.0))
        writer.write(draw(first.folder, 4, 20))
    first.poll()
    lapse(first.context.job_id)
    with database.transaction() as session:
        reap(session)
    second = open_ingest()
    with EventWriter(second.folder.events) as writer:
        writer.write(RESUMED)
        writer.write(metrics(3, 2.0))
    second.poll()
    with database.reading() as session:
        run = session.get_one(Run, run_id)
        curves = {series.name: series for series in views.curves(session, run).series}
        assert (curves["loss"].steps, curves["loss"].values) == ([1, 2, 3], [1.0, 1.0, 2.0])
        assert repository.samples(session, run_id) == []
        assert [point.step for point in repository.checkpoints(session, run_id)] == [2]
        assert run.step == 3
        outcomes = [(attempt.number, attempt.outcome) for attempt in repository.attempts(session, run_id)]
        assert outcomes == [(1, "lost"), (2, None)]
        assert len(repository.all_events(session, run_id)) == 9
    with pytest.raises(LostLease), EventWriter(first.folder.events) as writer:
        writer.write(metrics(4, 9.0))
        first.poll()


def test_a_stream_lost_with_its_machine_goes_on(open_ingest: Open, database, lapse: Lapse, run_id: int) -> None:  # noqa: F811  # the fixture
    first = open_ingest()
    with EventWriter(first.folder.events) as writer:
        writer.write(STARTED)
        writer.write(metrics(1, 1.0))
        writer.write(Validation(step=1, values={"margin": 0.5}))
    first.poll()
    first.folder.events.unlink()
    lapse(first.context.job_id)
    with database.transaction() as session:
        reap(session)
    second = open_ingest()
    with EventWriter(second.folder.events) as writer:
        writer.write(STARTED)
        writer.write(metrics(1, 1.0))
    second.poll()
    with database.reading() as session:
        assert [event.seq for event in repository.all_events(session, run_id)] == [0, 1, 2, 3, 4]
        curves = views.curves(session, session.get_one(Run, run_id))
        assert {(s.source, s.name): s.steps for s in curves.series}[("metrics", "loss")] == [1]


def test_events_that_the_database_did_not_take_are_taken_the_next_time(
    open_ingest: Open, database: Database, run_id: int
) -> None:
    ingest = open_ingest()
    with EventWriter(ingest.folder.events) as writer:
        for told in (STARTED, metrics(1, 0.7), metrics(2, 0.6)):
            writer.write(told)

    def hang_up(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("INSERT INTO run_events"):
            raise OperationalError(statement, None, ConnectionError("the server hung up"))

    event.listen(database.engine, "before_cursor_execute", hang_up)
    try:
        with pytest.raises(OperationalError):
            ingest.poll()
    finally:
        event.remove(database.engine, "before_cursor_execute", hang_up)
    ingest.poll()
    with database.reading() as session:
        assert [stored.seq for stored in repository.all_events(session, run_id)] == [0, 1, 2]


def test_an_image_that_is_gone_costs_only_itself(open_ingest: Open, database: Database, run_id: int) -> None:
    ingest = open_ingest()
    with EventWriter(ingest.folder.events) as writer:
        sample = draw(ingest.folder, 1, 30)
        gone = SampleImage(condition_id="c1", seed=7, image="samples/none.png")
        writer.write(sample.model_copy(update={"images": [gone, *sample.images]}))
    ingest.poll()
    with database.reading() as session:
        assert [(row.step, row.position) for row in repository.samples(session, run_id)] == [(1, 1)]


def test_a_checkpoint_that_was_removed_is_shown_so(open_ingest: Open, database: Database, run_id: int) -> None:
    ingest = open_ingest()
    with EventWriter(ingest.folder.events) as writer:
        writer.write(publish(ingest.folder, 1))
        ingest.poll()
        (ingest.folder.checkpoint(1) / "manifest.json").unlink()
        writer.write(publish(ingest.folder, 2))
    ingest.poll()
    with database.reading() as session:
        kept = {point.step: point.is_kept for point in repository.checkpoints(session, run_id)}
        assert kept == {1: False, 2: True}


def test_the_log_tail_is_stored_in_whole_lines(open_ingest: Open, database: Database, tmp_path: Path) -> None:
    ingest = open_ingest()
    ingest.log.parent.mkdir(parents=True, exist_ok=True)
    ingest.log.write_text("".join(f"line {number}\n" for number in range(5000)))
    with EventWriter(ingest.folder.events) as writer:
        writer.write(STARTED)
    ingest.poll()
    with database.reading() as session:
        tail = session.get_one(Attempt, ingest.attempt_id).log_tail
        assert tail.startswith("line ") and tail.endswith("line 4999\n") and len(tail) <= 16_384
