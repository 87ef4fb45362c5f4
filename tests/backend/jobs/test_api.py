"""Jobs over HTTP: REST, the event stream, and the pages."""

import json

import pytest
from fastapi import FastAPI

from backend.accounts.models import Role
from backend.jobs.models import Job
from backend.jobs.service import claim, enqueue, get_job, note_progress, succeed
from backend.kit.blobs import LocalBlobs
from backend.kit.database import Database
from tests.people import add_person, client_of, token_of


def put(database: Database, kind: str = "test.echo", **options) -> int:
    with database.transaction() as session:
        return enqueue(session, kind, {"seed": 7}, **options).id


def run(database: Database, job_id: int) -> int:
    with database.transaction() as session:
        got = claim(session, queues=("cpu", "gpu"), worker="host/cpu/1", lease_seconds=60, job_id=job_id)
        assert got is not None
        note_progress(session, job_id, got.fence, 3, 10, "third of ten")
    return got.fence


@pytest.fixture
def lead(app: FastAPI, database: Database):
    with client_of(app, add_person(database, Role.LEAD)) as client:
        yield client


@pytest.fixture
def admin(app: FastAPI, database: Database):
    with client_of(app, add_person(database, Role.ADMIN)) as client:
        yield client


def test_jobs_are_listed_newest_first_in_pages(lead, database: Database) -> None:
    ids = [put(database) for _ in range(5)]
    first = lead.get("/api/v1/jobs", params={"limit": 3}).json()
    assert [job["id"] for job in first["items"]] == ids[:1:-1]
    rest = lead.get("/api/v1/jobs", params={"limit": 3, "cursor": first["next_cursor"]}).json()
    assert [job["id"] for job in rest["items"]] == ids[1::-1]
    assert rest["next_cursor"] is None


def test_jobs_are_filtered(lead, database: Database) -> None:
    cpu, gpu = put(database, project_id=4), put(database, "test.gpu")
    run(database, gpu)

    def listed(**filters) -> list[int]:
        return [job["id"] for job in lead.get("/api/v1/jobs", params=filters).json()["items"]]

    assert listed(queue="gpu") == [gpu]
    assert listed(state="queued") == [cpu]
    assert listed(kind="test.gpu") == [gpu]
    assert listed(project_id=4) == [cpu]
    assert lead.get("/api/v1/jobs", params={"state": "asleep"}).status_code == 422


def test_one_job_shows_its_progress(lead, database: Database) -> None:
    job_id = put(database)
    run(database, job_id)
    job = lead.get(f"/api/v1/jobs/{job_id}").json()
    assert (job["state"], job["progress_done"], job["progress_total"]) == ("running", 3, 10)
    assert "payload" not in job
    assert lead.get("/api/v1/jobs/999").json()["code"] == "not_found"


def test_cancelling_twice_is_no_error_but_an_ended_job_conflicts(lead, database: Database) -> None:
    waiting, done = put(database), put(database)
    with database.transaction() as session:
        got = claim(session, queues=("cpu",), worker="w", lease_seconds=60, job_id=done)
        assert got is not None
        succeed(session, done, got.fence, {})
    for _ in range(2):
        assert lead.post(f"/api/v1/jobs/{waiting}/cancel").json()["state"] == "cancelled"
    refused = lead.post(f"/api/v1/jobs/{done}/cancel")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")


def test_the_stream_tells_changes_and_ends_with_the_job(lead, database: Database) -> None:
    job_id = put(database)
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


def test_a_token_that_may_read_may_not_cancel(app: FastAPI, client, database: Database) -> None:
    job_id = put(database)
    headers = token_of(database, add_person(database, Role.LEAD), "read")
    assert client.get(f"/api/v1/jobs/{job_id}", headers=headers).status_code == 200
    assert client.post(f"/api/v1/jobs/{job_id}/cancel", headers=headers).status_code == 403
    headers = token_of(database, add_person(database, Role.LEAD), "train")
    assert client.post(f"/api/v1/jobs/{job_id}/cancel", headers=headers).status_code == 200


def test_the_page_lists_filters_and_escapes(lead, database: Database) -> None:
    job_id, other = put(database), put(database, "test.gpu")
    run(database, job_id)
    with database.transaction() as session:
        session.get_one(Job, job_id).progress_message = "<script>alert(1)</script>"
    page = lead.get("/jobs", params={"kind": "test.echo"})
    assert page.status_code == 200
    assert f'href="/jobs/{job_id}"' in page.text
    assert f'href="/jobs/{other}"' not in page.text
    assert "<script>alert" not in page.text
    assert "No job fits these filters" in lead.get("/jobs", params={"state": "failed"}).text


def test_a_job_is_cancelled_from_its_page(lead, database: Database) -> None:
    job_id = put(database)
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
