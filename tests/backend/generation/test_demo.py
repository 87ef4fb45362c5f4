"""The demo project from nothing: drawn, imported by the ordinary import, illustrated, queued for the sampler."""

import re

import pytest
from fastapi import FastAPI
from sqlalchemy import select

from backend.catalogue.models import Condition, Generator, Project, Split, Subject
from backend.generation.demo import SEED_KIND, ensure_demo
from backend.jobs.models import Job
from backend.jobs.runner import run_pending
from backend.kit.database import Database
from backend.settings import Settings
from tests.people import add_person, client_of


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"demo": True, "demo_conditions": 30})


def jobs(database: Database, *kinds: str) -> list[Job]:
    with database.reading() as session:
        return list(session.scalars(select(Job).where(Job.kind.in_(kinds)).order_by(Job.id)))


def test_an_empty_database_gets_a_demo_that_is_alive(app: FastAPI, settings: Settings, database, blobs):
    ensure_demo(database, settings)
    ensure_demo(database, settings)
    assert len(jobs(database, SEED_KIND)) == 1
    [seeded] = run_pending(settings, database, blobs, queues=("cpu",))
    assert seeded.state == "succeeded", seeded.error_message
    with database.reading() as session:
        project = session.scalar(select(Project))
        assert project.slug == "demo" and project.is_demo
        conditions = session.scalars(select(Condition)).all()
        assert len(conditions) == 30 and all(condition.spec["kind"] for condition in conditions)
        assert {condition.split for condition in conditions} == set(Split)
        assert all(subject.cutout_digest for subject in session.scalars(select(Subject)))
        assert session.scalar(select(Generator)).base == "spatialworld"
        pictures = re.findall(r"/projects/demo/guidelines/images/[0-9a-f]{64}", project.guidelines)
    assert len(pictures) >= 8
    first, pairs, rest = jobs(database, "generation.make")
    assert first.priority > rest.priority
    assert [job.payload["comparisons"]["kind"] for job in (first, pairs, rest)] == ["win_lose", "pairwise", "win_lose"]
    admin = client_of(app, add_person(database, "admin"))
    assert admin.get(pictures[0]).status_code == 200
    ensure_demo(database, settings)
    assert len(jobs(database, SEED_KIND)) == 1


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_without_the_trainer_it_says_what_to_run_and_goes_on_after_it(settings, database, blobs, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("backend.generation.words.trainer_missing", lambda: ["torch"])
        ensure_demo(database, settings)
        [seeded] = run_pending(settings, database, blobs, queues=("cpu",))
        assert (seeded.state, seeded.error_code) == ("failed", "trainer_missing")
        assert "script/bootstrap" in seeded.error_message
        ensure_demo(database, settings)
        assert len(jobs(database, SEED_KIND)) == 1
    ensure_demo(database, settings)
    [seeded] = run_pending(settings, database, blobs, queues=("cpu",))
    assert seeded.state == "succeeded"
    assert len(jobs(database, "generation.make")) == 3


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_database_in_use_gets_no_demo(settings, database):
    with database.transaction() as session:
        session.add(Project(slug="mine", name="Mine"))
    ensure_demo(database, settings)
    ensure_demo(database, settings.model_copy(update={"demo": False}))
    assert jobs(database, SEED_KIND) == []
