"""The next step that a project's page names, on both databases."""

from sqlalchemy import select

from backend.catalogue.models import Project
from backend.datasets.models import Snapshot, SnapshotState
from backend.jobs import service as jobs
from backend.judging import service
from backend.judging.schemas import AnswerIn
from backend.kit.database import Database
from backend.kit.models import Blob
from backend.overview.service import Step, next_step, read_overview
from backend.training.models import Run, RunState
from tests.backend.judging.world import World, add_annotator, build


def step_of(database: Database, world: World) -> Step:
    with database.reading() as session:
        return next_step(read_overview(session, session.get_one(Project, world.project.id)))


def judge_all(database: Database, world: World) -> None:
    person = add_annotator(database, world)
    with database.transaction() as session:
        while rows := service.claim(session, world.project, person, count=1, lease_seconds=60).rows:
            service.submit(
                session, person, rows[0].assignment.id, f"key-{rows[0].assignment.id}", AnswerIn(outcome="tie")
            )


def add_finished_run(database: Database, world: World) -> None:
    """A run that tuned the world's first generator and became its second."""
    with database.transaction() as session:
        digest = session.scalar(select(Blob.digest).limit(1))
        snapshot = Snapshot(
            project_id=world.project.id,
            name="first",
            state=SnapshotState.READY,
            rules={},
            content_hash="0" * 64,
            archive_digest=digest,
        )
        session.add(snapshot)
        session.flush()
        session.add(
            Run(
                project_id=world.project.id,
                snapshot_id=snapshot.id,
                parent_generator_id=world.generators[0],
                generator_id=world.generators[1],
                name="run 1",
                recipe="demo",
                config={},
                config_hash="0" * 64,
                state=RunState.FINISHED,
                total_steps=1,
                adapter_digest=digest,
            )
        )


def test_a_tuned_model_is_judged_only_once_the_arena_has_votes(database: Database) -> None:
    world = build(database, comparisons=3)
    judge_all(database, world)
    add_finished_run(database, world)
    unmet = step_of(database, world)
    assert (unmet.label, unmet.path) == ("Make candidates", "generators")
    assert "has not been judged against its parent yet" in unmet.because

    payload = {"project_id": world.project.id, "generator_ids": world.generators, "comparisons": {"kind": "arena"}}
    with database.transaction() as session:
        other = payload | {"comparisons": {"kind": "win_lose"}}
        jobs.enqueue(session, "generation.make", other, project_id=world.project.id)
    assert step_of(database, world) == unmet
    with database.transaction() as session:
        job = jobs.enqueue(session, "generation.make", payload, project_id=world.project.id)
    at_work = step_of(database, world)
    assert at_work.path == "generators" and "are being made" in at_work.because
    with database.transaction() as session:
        jobs.cancel(session, job.id)
    assert step_of(database, world) == unmet

    with database.transaction() as session:
        service.make_comparisons(
            session,
            world.project,
            kind="arena",
            criterion="spatial_rationality",
            candidate_groups=world.groups,
        )
    assert step_of(database, world).path == "judge"
    judge_all(database, world)
    judged = step_of(database, world)
    assert (judged.path, judged.because) == ("leaderboard", "The tuned model has been judged against its parent.")
