"""Judging over HTTP: what each may reach, what comes back, and that images tell nothing."""

import time

import pytest
from sqlalchemy import select

from backend.catalogue.models import ProjectMember
from backend.jobs.models import Job
from backend.judging.models import Judgment
from backend.judging.tickets import DAY, Tickets
from tests.backend.judging.world import add_annotator, build
from tests.people import add_person, client_of, token_of

CLAIM = "/api/v1/projects/street-scenes/assignments"


def key(name: str) -> dict[str, str]:
    return {"idempotency-key": f"{name:-<16}"}


@pytest.fixture
def world(database, blobs):
    return build(database, comparisons=4, blobs=blobs, size=32, verdicts=True)


@pytest.fixture
def ann(app, database, world):
    return client_of(app, add_annotator(database, world))


@pytest.fixture
def ben(app, database, world):
    return client_of(app, add_annotator(database, world))


@pytest.fixture
def lead(app, database, world):
    person = add_person(database, "lead")
    with database.transaction() as session:
        session.add(ProjectMember(project_id=world.project.id, person_id=person.id))
    return client_of(app, person)


def bare(url: str) -> str:
    """The address without its ticket."""
    return url.split("?")[0]


def claim(client, count=1, holding=()):
    answer = client.post(CLAIM, json={"count": count, "holding": list(holding)})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_claim_answer_retry_change_and_list(ann):
    claimed = claim(ann, 2)
    assert claimed["state"] == "ready" and len(claimed["items"]) == 2
    first = claimed["items"][0]["id"]
    url = f"/api/v1/assignments/{first}/judgment"
    answer = {"outcome": "choice", "choice": "right", "reasons": ["position"], "seconds": 3.2}
    assert ann.post(url, json=answer, headers=key("one")).status_code == 201
    again = ann.put(url, json=answer, headers=key("one"))
    assert again.status_code == 200
    assert ann.post(url, json=answer, headers=key("two")).json()["code"] == "already_judged"
    changed = ann.patch(f"/api/v1/judgments/{again.json()['id']}", json={"outcome": "tie"})
    assert changed.json()["revision"] == 2
    assert ann.patch(url, json={"outcome": "tie"}).json()["revision"] == 2
    listed = ann.get("/api/v1/projects/street-scenes/judgments").json()["items"]
    assert [(row["answer"]["outcome"], row["person_name"]) for row in listed] == [("tie", None)]
    shown = ann.get(f"/api/v1/assignments/{first}").json()
    assert shown["answer"]["outcome"] == "tie"
    progress = ann.get("/api/v1/projects/street-scenes/progress").json()
    assert (progress["done"], progress["left"], progress["seconds_each"]) == (1, 3, 3.2)


def test_what_an_annotator_gets_names_no_candidate_and_no_generator(ann, world):
    (item,) = claim(ann)["items"]
    assert set(item) == {
        "id", "kind", "criterion", "prompt", "subject_name", "width", "height", "images", "subject", "mask",
        "lease_expires_at",
    }  # fmt: skip
    answers = [ann.get(url) for url in [*item["images"], item["subject"], item["mask"]]]
    heads = []
    for answer in answers:
        assert answer.status_code == 200 and answer.content.startswith(b"\x89PNG")
        assert not any(chunk in answer.content for chunk in (b"tEXt", b"iTXt", b"eXIf", b"tIME"))
        varying = {"content-length", "x-request-id"}
        heads.append({name: value for name, value in answer.headers.items() if name not in varying})
    assert all(head == heads[0] for head in heads)
    assert heads[0]["cache-control"].startswith("private")
    assert not {"etag", "last-modified", "content-disposition"} & set(heads[0])


def test_nobody_reaches_another_persons_assignment(ann, ben, lead):
    (item,) = claim(ann)["items"]
    base = f"/api/v1/assignments/{item['id']}"
    for other in (ben, lead):
        for url in [*item["images"], item["subject"], item["mask"], base]:
            assert other.get(url).status_code == 404
            assert other.get(bare(url)).status_code == 404
        assert other.post(f"{base}/renew").status_code == 404
        assert other.post(f"{base}/release").status_code == 404
        assert other.post(f"{base}/judgment", json={"outcome": "tie"}, headers=key("x")).status_code == 404
        assert other.patch(f"{base}/judgment", json={"outcome": "tie"}).status_code == 404
    assert ann.get(f"/judge/assignments/{item['id']}/images/2").status_code == 404
    assert ann.post(f"{base}/renew").status_code == 200
    assert ann.post(f"{base}/release").status_code == 204
    # What was handed out may be looked at on; the place itself shows nothing more.
    assert ann.get(item["images"][0]).status_code == 200
    assert ann.get(bare(item["images"][0])).status_code == 404


def test_a_ticket_opens_one_image_to_one_person_while_their_session_lives(app, database, ann, ben, client):
    first, second = claim(ann, 2)["items"]
    ticket = first["images"][0].split("?")[1]
    assert ann.get(first["images"][0]).content != ann.get(first["images"][1]).content
    assert ann.get(f"{bare(second['images'][0])}?{ticket}").content == ann.get(second["images"][0]).content
    assert ann.get(f"{bare(first['images'][0])}?{ticket[:-2]}AA").status_code == 200
    assert ben.get(first["images"][0]).status_code == 404
    assert client.get(first["images"][0]).status_code == 401
    shown = app.state.tickets
    path, digest = bare(first["images"][0]), "ab" * 32
    forged = shown.address(path, 1, digest)
    assert digest not in forged and shown.read(path, 1, forged.split("=", 1)[1].encode()) == digest
    assert shown.read(path, 2, forged.split("=", 1)[1].encode()) is None
    assert shown.read(f"{path}0", 1, forged.split("=", 1)[1].encode()) is None
    assert Tickets(b"another").read(path, 1, forged.split("=", 1)[1].encode()) is None
    assert shown.read(path, 1, b"not a ticket") is None


def test_tickets_and_places_show_the_same_bytes_and_headers(ann, monkeypatch):
    (item,) = claim(ann)["items"]
    for url in [*item["images"], item["subject"], item["mask"]]:
        short, long = ann.get(url), ann.get(bare(url))
        assert short.content == long.content and set(short.headers) == set(long.headers)
        assert short.headers["content-security-policy"] == long.headers["content-security-policy"]
        assert short.headers["cache-control"] == long.headers["cache-control"]
    tomorrow = time.time() + 2 * DAY
    monkeypatch.setattr("backend.judging.tickets.time.time", lambda: tomorrow)
    url = item["images"][0]
    assert ann.app.state.tickets.read(bare(url), 1, url.split("=", 1)[1].encode()) is None
    assert ann.get(url).status_code == 200


def test_others_judgments_and_comparisons_are_for_leads(ann, ben, lead):
    for client in (ann, ben):
        (item,) = claim(client)["items"]
        url = f"/api/v1/assignments/{item['id']}/judgment"
        assert client.post(url, json={"outcome": "tie"}, headers=key("k")).status_code == 201
    everybodys = "/api/v1/projects/street-scenes/judgments?mine=false"
    assert ann.get(everybodys).status_code == 403
    assert ann.get("/api/v1/projects/street-scenes/comparisons").status_code == 403
    rows = lead.get(everybodys).json()["items"]
    assert len(rows) == 2 and all(row["person_name"] and row["comparison_id"] for row in rows)
    page = lead.get("/api/v1/projects/street-scenes/comparisons?limit=3").json()
    rest = lead.get(f"/api/v1/projects/street-scenes/comparisons?limit=3&cursor={page['next_cursor']}").json()
    assert (len(page["items"]), len(rest["items"]), rest["next_cursor"]) == (3, 1, None)


def test_strangers_and_unkeyed_answers_are_refused(app, database, ann, client):
    stranger = client_of(app, add_person(database, "annotator"))
    assert stranger.post(CLAIM, json={}).status_code == 404
    assert stranger.get("/projects/street-scenes/judge").status_code == 404
    assert client.post(CLAIM, json={}).status_code == 401
    (item,) = claim(ann)["items"]
    url = f"/api/v1/assignments/{item['id']}/judgment"
    assert ann.post(url, json={"outcome": "tie"}).status_code == 422
    refused = ann.post(url, json={"outcome": "marks", "marks": [{}, {}]}, headers=key("k"))
    assert refused.status_code == 422 and refused.json()["errors"][0]["field"] == "outcome"


def test_a_token_needs_the_scope_judge(app, database, world, client):
    person = add_annotator(database, world)
    reading = client.post(CLAIM, json={"count": 1}, headers=token_of(database, person, "read"))
    assert reading.status_code == 403
    judging = client.post(CLAIM, json={"count": 1}, headers=token_of(database, person, "judge"))
    assert judging.status_code == 200


def test_pages_show_and_hold_to_the_strict_policy(ann):
    for path in ("guidelines", "judge"):
        page = ann.get(f"/projects/street-scenes/{path}", headers={"accept": "text/html"})
        assert page.status_code == 200
        assert "style=" not in page.text and "<script>" not in page.text
        assert "viewpoint" in page.text.lower()


def test_a_lead_starts_a_simulation(ann, lead, database, world):
    url = "/api/v1/projects/street-scenes/simulations"
    assert ann.post(url, json={}).status_code == 403
    started = lead.post(url, json={"annotators": 3, "error_rate": 0.2})
    assert started.status_code == 202
    form = {"annotators": "5", "error_rate": "10", "side_bias": "x"}
    assert lead.post("/projects/street-scenes/simulate", data=form).status_code == 422
    sent = lead.post("/projects/street-scenes/simulate", data=form | {"side_bias": "0"})
    assert (sent.status_code, sent.headers["location"]) == (303, "/projects/street-scenes")
    with database.reading() as session:
        jobs = session.scalars(select(Job)).all()
        assert [(job.kind, job.payload["error_rate"]) for job in jobs] == [("judging.simulate", 0.2)]
        assert session.scalar(select(Judgment)) is None


def test_earlier_answers_show_small_images_that_tell_as_little(app, database, blobs):
    big = build(database, comparisons=1, blobs=blobs, size=500)
    ann = client_of(app, add_annotator(database, big))
    (item,) = claim(ann)["items"]
    small = ann.get(f"{bare(item['images'][0])}?small=true")
    assert (int.from_bytes(small.content[16:20]), int.from_bytes(small.content[20:24])) == (384, 384)
    assert not {"etag", "last-modified"} & set(small.headers)
    assert ann.post(
        f"/api/v1/assignments/{item['id']}/judgment", json={"outcome": "both_good"}, headers=key("k")
    ).is_success
    page = ann.get("/projects/street-scenes/history").text
    assert f"{bare(item['images'][0])}?small=true" in page and "both good" in page
