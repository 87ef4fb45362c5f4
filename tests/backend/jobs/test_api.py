"""Jobs over HTTP: REST, the event stream, and the pages."""

import json

import pytest
from fastapi import FastAPI

from backend.accounts.models import Person, Role
from backend.catalogue.models import Project, ProjectMember
from backend.jobs.models import Job
from backend.jobs.service import claim, enqueue, get_job, note_progress, succeed
from backend.kit.blobs import LocalBlobs
from backend.kit.database import Database
from tests.people import add_person, client_of, token_of


def put(database: Database, kind: str = "test.echo", **options) -> int:
    with database.transaction() as session:
        return enqueue(session, kind, {"seed": 7}, **options).id


def add_project(database: Database, slug: str) -> int:
    with database.transaction() as session:
        project = Project(slug=slug, name=slug)
        session.add(project)
        session.flush()
        return project.id


def add_lead(database: Database, project_id: int) -> Person:
    person = add_person(database, Role.LEAD)
    with database.transaction() as session:
        session.add(ProjectMember(project_id=project_id, person_id=person.id))
    return person


def run(database: Database, job_id: int) -> int:
    with database.transaction() as session:
        got = claim(session, queues=("cpu", "gpu"), worker="host/cpu/1", lease_seconds=60, job_id=job_id)
        assert got is not None
        note_progress(session, job_id, got.fence, 3, 10, "third of ten")
    return got.fence


@pytest.fixture
def streets(database: Database) -> int:
    return add_project(database, "streets")


@pytest.fixture
def lead(app: FastAPI, database: Database, streets: int):
    """A lead of the project `streets`."""
    with client_of(app, add_lead(database, streets)) as client:
        yield client


@pytest.fixture
def admin(app: FastAPI, database: Database):
    with client_of(app, add_person(database, Role.ADMIN)) as client:
        yield client


def test_jobs_are_listed_newest_first_in_pages(lead, database: Database, streets: int) -> None:
    ids = [put(database, project_id=streets) for _ in range(5)]
    first = lead.get("/api/v1/jobs", params={"limit": 3}).json()
    assert [job["id"] for job in first["items"]] == ids[:1:-1]
    rest = lead.get("/api/v1/jobs", params={"limit": 3, "cursor": first["next_cursor"]}).json()
    assert [job["id"] for job in rest["items"]] == ids[1::-1]
    assert rest["next_cursor"] is None


def test_jobs_are_filtered(admin, database: Database) -> None:
    cpu, gpu = put(database, project_id=4), put(database, "test.gpu")
    run(database, gpu)

    def listed(**filters) -> list[int]:
        return [job["id"] for job in admin.get("/api/v1/jobs", params=filters).json()["items"]]

    assert listed(queue="gpu") == [gpu]
    assert listed(state="queued") == [cpu]
    assert listed(kind="test.gpu") == [gpu]
    assert listed(project_id=4) == [cpu]
    assert admin.get("/api/v1/jobs", params={"state": "asleep"}).status_code == 422


def test_leads_see_the_jobs_of_their_projects_only(lead, admin, database: Database, streets: int) -> None:
    ours = put(database, project_id=streets)
    foreign = [put(database, "test.gpu", project_id=add_project(database, "rivers")), put(database, "test.gpu")]
    assert [job["id"] for job in lead.get("/api/v1/jobs").json()["items"]] == [ours]
    page = lead.get("/jobs").text
    assert f'href="/jobs/{ours}"' in page and "test.gpu" not in page
    everything = admin.get("/api/v1/jobs").json()["items"]
    assert [job["id"] for job in everything] == [*reversed(foreign), ours]
    assert all(admin.get(f"/jobs/{job_id}").status_code == 200 for job_id in foreign)


@pytest.mark.parametrize("in_a_project", [True, False])
def test_a_job_of_others_is_answered_like_one_that_is_not_there(lead, database: Database, in_a_project: bool) -> None:
    foreign = put(database, project_id=add_project(database, "rivers") if in_a_project else None)
    for path in ("/api/v1/jobs/{}", "/api/v1/jobs/{}/events", "/jobs/{}"):
        answer, missing = lead.get(path.format(foreign)), lead.get(path.format(999))
        assert answer.status_code == missing.status_code == 404, path
        assert answer.json()["detail"] == missing.json()["detail"].replace("999", str(foreign))
    for path in ("/api/v1/jobs/{}/cancel", "/jobs/{}/cancel"):
        assert lead.post(path.format(foreign)).status_code == 404, path
    with database.reading() as session:
        assert get_job(session, foreign).state == "queued"


def test_one_job_shows_its_progress(lead, database: Database, streets: int) -> None:
    job_id = put(database, project_id=streets)
    run(database, job_id)
    job = lead.get(f"/api/v1/jobs/{job_id}").json()
    assert (job["state"], job["progress_done"], job["progress_total"]) == ("running", 3, 10)
    assert "payload" not in job
    assert lead.get("/api/v1/jobs/999").json()["code"] == "not_found"


def test_cancelling_twice_is_no_error_but_an_ended_job_conflicts(lead, database: Database, streets: int) -> None:
    waiting, done = put(database, project_id=streets), put(database, project_id=streets)
    with database.transaction() as session:
        got = claim(session, queues=("cpu",), worker="w", lease_seconds=60, job_id=done)
        assert got is not None
        succeed(session, done, got.fence, {})
    for _ in range(2):
        assert lead.post(f"/api/v1/jobs/{waiting}/cancel").json()["state"] == "cancelled"
    refused = lead.post(f"/api/v1/jobs/{done}/cancel")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")


def test_the_stream_tells_changes_and_ends_with_the_job(lead, database: Database, streets: int) -> None:
    job_id = put(database, project_id=streets)
    fence = run(database, job_id)
    events = []
    with lead.stream("GET", f"/api/v1/jobs/{job_id}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        name = ""
        with database.transaction() as session:
            succeed(session, job_id, fence, {"made": 3})
        for line in answer.iter_lines():
            if line.startswith("event:"):
                name = line.partition(":")[2].strip()
            elif line.startswith("data:"):
                events.append((name, json.loads(line.partition(":")[2])))
    assert events[-1] == ("end", {"state": "succeeded"})
    assert events[-2][0] == "job"
    assert events[-2][1]["result"] == {"made": 3}
    assert lead.get("/api/v1/jobs/999/events").status_code == 404


def test_annotators_see_no_jobs(app: FastAPI, database: Database) -> None:
    job_id = put(database)
    with client_of(app, add_person(database, Role.ANNOTATOR)) as client:
        for path in ("/api/v1/jobs", f"/api/v1/jobs/{job_id}", f"/api/v1/jobs/{job_id}/events", "/jobs", "/system"):
            assert client.get(path).status_code == 403, path
        assert client.post(f"/api/v1/jobs/{job_id}/cancel").status_code == 403


def test_a_token_that_may_read_may_not_cancel(client, database: Database, streets: int) -> None:
    job_id, person = put(database, project_id=streets), add_lead(database, streets)
    headers = token_of(database, person, "read")
    assert client.get(f"/api/v1/jobs/{job_id}", headers=headers).status_code == 200
    assert client.post(f"/api/v1/jobs/{job_id}/cancel", headers=headers).status_code == 403
    headers = token_of(database, person, "train")
    assert client.post(f"/api/v1/jobs/{job_id}/cancel", headers=headers).status_code == 200


def test_the_page_lists_filters_and_escapes(lead, database: Database, streets: int) -> None:
    job_id, other = put(database, project_id=streets), put(database, "test.gpu", project_id=streets)
    run(database, job_id)
    with database.transaction() as session:
        session.get_one(Job, job_id).progress_message = "<script>alert(1)</script>"
    page = lead.get("/jobs", params={"kind": "test.echo"})
    assert page.status_code == 200
    assert f'href="/jobs/{job_id}"' in page.text
    assert f'href="/jobs/{other}"' not in page.text
    assert "<script>alert" not in page.text
    assert "No job fits these filters" in lead.get("/jobs", params={"state": "failed"}).text


def test_a_job_is_cancelled_from_its_page(lead, database: Database, streets: int) -> None:
    job_id = put(database, project_id=streets)
    assert "Cancel this job" in lead.get(f"/jobs/{job_id}").text
    answer = lead.post(f"/jobs/{job_id}/cancel")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/jobs/{job_id}")
    with database.reading() as session:
        assert get_job(session, job_id).state == "cancelled"


def test_the_system_page_is_for_admins(lead, admin, database: Database, blobs: LocalBlobs) -> None:
    assert lead.get("/system").status_code == 403
    page = admin.get("/system")
    assert page.status_code == 200
    assert "No worker reports" in page.text
    assert "schema version" in page.text
