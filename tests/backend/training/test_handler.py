"""The job with the real trainer as its child, on a tiny pipeline with random weights."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from backend.catalogue.models import Generator
from backend.datasets.models import Snapshot
from backend.jobs.models import Job
from backend.jobs.runner import run_one
from backend.kit.blobs import LocalBlobs
from backend.kit.database import Database
from backend.settings import Settings
from backend.training import repository, views
from backend.training.models import Run, RunEvent
from tests.backend.training.conftest import World
from tests.trainer.conftest import pipeline_folder  # noqa: F401  # a fixture

STEPS = 4
SMALL = {
    "training.steps": STEPS,
    "training.pairs_per_step": 2,
    "checkpoints.every": 2,
    "samples.every": 2,
    "samples.conditions": 1,
    "validation.every": 2,
}


@pytest.fixture
def tiny(world: World, database: Database, pipeline_folder: Path) -> World:  # noqa: F811  # the fixture
    """The world, its base generator being the tiny pipeline."""
    with database.transaction() as session:
        session.get_one(Generator, world.generator_id).base = str(pipeline_folder)
    return world


Train = Callable[[int], Job]


@pytest.fixture
def train(settings: Settings, database: Database, blobs: LocalBlobs) -> Train:
    def run_job(job_id: int) -> Job:
        done = run_one(settings, database, blobs, job_id)
        assert done is not None
        return done

    return run_job


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_becomes_a_generator_that_is_tuned_further(lead: TestClient, tiny: World, database, blobs, train) -> None:
    run = lead.post("/api/v1/runs", json=tiny.body(overrides=SMALL)).json()
    job = train(run["job_id"])
    assert (job.state, job.error_message) == ("succeeded", None)
    finished = lead.get(f"/api/v1/runs/{run['id']}").json()
    assert (finished["state"], finished["step"], finished["result"]["state"]) == ("finished", STEPS, "finished")
    assert [attempt["outcome"] for attempt in finished["attempts"]] == ["finished"]
    assert [point["step"] for point in finished["checkpoints"]] == [4, 2]
    _check_events(database, run["id"])

    weights = lead.get(f"/api/v1/runs/{run['id']}/adapter")
    assert weights.status_code == 200 and "street-run" in weights.headers["content-disposition"]
    assert _lora_keys(weights.content)
    with database.reading() as session:
        child = session.get_one(Generator, finished["generator_id"])
        parent = session.get_one(Generator, tiny.generator_id)
        assert (child.name, child.parent_id, child.run_id) == ("SpatialWorld · run 1", parent.id, run["id"])
        assert (child.base, child.sampler, child.adapter_digest) == (
            parent.base, parent.sampler, finished["adapter_digest"],
        )  # fmt: skip
        assert child.is_frozen and parent.is_frozen
        make = session.scalar(select(Job).where(Job.kind == "generation.make"))
        assert make is not None and make.payload["generator_ids"] == [child.id, parent.id]
        assert (make.payload["split"], make.payload["comparisons"]["kind"]) == ("validation", "arena")
        assert job.result == {
            "run_id": run["id"], "generator_id": child.id, "adapter": child.adapter_digest,
            "generation_job_id": make.id,
        }  # fmt: skip

    further = lead.post("/api/v1/runs", json=tiny.body(overrides=SMALL, parent_generator_id=child.id)).json()
    assert train(further["job_id"]).state == "succeeded"
    with database.reading() as session:
        grandchild = session.get_one(Generator, session.get_one(Run, further["id"]).generator_id)
        assert grandchild.name == "SpatialWorld · run 1 · run 2" and grandchild.parent_id == child.id
        assert grandchild.adapter_digest not in {None, child.adapter_digest}
    assert _lora_keys(blobs.read(grandchild.adapter_digest)) == _lora_keys(weights.content)


def _check_events(database: Database, run_id: int) -> None:
    with database.reading() as session:
        events = list(session.scalars(select(RunEvent).where(RunEvent.run_id == run_id).order_by(RunEvent.seq)))
        assert [event.seq for event in events] == list(range(len(events)))
        assert {event.kind for event in events} >= {
            "started", "plan", "self_check", "metrics", "validation", "sample", "checkpoint", "finished",
        }  # fmt: skip
        curves = {f"{s.source}/{s.name}": s for s in views.curves(session, session.get_one(Run, run_id)).series}
        assert curves["metrics/loss"].steps == [1, 2, 3, 4]
        assert curves["validation/margin"].steps == [0, 2, 4]
        assert {"metrics/d_win", "metrics/d_lose", "metrics/accuracy", "metrics/grad_norm"} <= set(curves)
        assert sorted({sample.step for sample in repository.samples(session, run_id)}) == [0, 2, 4]


def _lora_keys(data: bytes) -> set[str]:
    from safetensors.torch import load

    return set(load(io.BytesIO(data).read()))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_the_trainer_refuses_is_said_in_words(lead: TestClient, tiny: World, database, train, tmp_path) -> None:
    with database.transaction() as session:
        session.get_one(Generator, tiny.generator_id).base = str(tmp_path / "nothing-here")
    run = lead.post("/api/v1/runs", json=tiny.body()).json()
    job = train(run["job_id"])
    assert (job.state, job.error_code) == ("failed", "trainer_model_unavailable")
    failed = lead.get(f"/api/v1/runs/{run['id']}").json()
    assert failed["state"] == "failed" and "resume the run" in failed["failure"]
    assert "Traceback" not in failed["failure"]
    assert [(a["outcome"], a["exit_code"]) for a in failed["attempts"]] == [("failed", 69)]


def test_a_damaged_archive_is_said_in_words(lead: TestClient, tiny: World, database, blobs, train) -> None:
    run = lead.post("/api/v1/runs", json=tiny.body()).json()
    with database.reading() as session:
        path = blobs.path(session.get_one(Snapshot, tiny.snapshot_id).archive_digest)
    path.write_bytes(path.read_bytes()[:-600] + b"x" * 600)
    job = train(run["job_id"])
    assert (job.state, job.error_code) == ("failed", "snapshot_damaged")
    path.unlink()
    resumed = lead.post(f"/api/v1/runs/{run['id']}/resume").json()
    assert train(resumed["job_id"]).error_code == "snapshot_missing"
    failure = lead.get(f"/api/v1/runs/{run['id']}").json()["failure"]
    assert failure == "The archive of “first” is no longer stored. Freeze a new snapshot."
