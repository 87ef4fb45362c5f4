"""Practice and the test: lessons are made, answered and graded, and who has not passed gets no real work."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select

from backend.catalogue.models import Candidate, Project, ProjectMember
from backend.judging import lessons
from backend.judging.models import Judgment, Vote
from backend.judging.models_lessons import Lesson, Qualification, QualificationAnswer
from backend.judging.schemas import AnswerIn
from tests.backend.judging.world import add_annotator, build
from tests.people import add_person, client_of

BASE = "/api/v1/projects/street-scenes"
NEEDED = {"qualification_required": True, "qualification_pass_mark": 75, "qualification_attempts": 2}


@pytest.fixture
def world(database, blobs):
    return build(database, comparisons=12, blobs=blobs, size=16, verdicts=True, settings=NEEDED)


@pytest.fixture
def ann(app, database, world):
    return client_of(app, add_annotator(database, world))


@pytest.fixture
def lead(app, database, world):
    person = add_person(database, "lead")
    with database.transaction() as session:
        session.add(ProjectMember(project_id=world.project.id, person_id=person.id))
    return client_of(app, person)


@pytest.fixture
def taught(lead):
    made = lead.post(f"{BASE}/lessons/of-verdicts", json={"practice": 2, "test": 4})
    assert made.json() == {"practice": 2, "test": 4}


def right_side(database, client, item) -> str:
    """The side of the rational candidate: the first of each group is, by the world's verdicts."""
    images = [client.get(url).content for url in item["images"]]
    with database.reading() as session:
        lesson = session.get(Lesson, item["id"])
        best = lesson.candidate_ids[0 if lesson.expected["choice"] == "left" else 1]
        digest = session.scalar(select(Candidate.image_digest).where(Candidate.id == best))
    return "left" if hashlib.sha256(images[0]).hexdigest() == digest else "right"


def answers(database, client, item, *, right: bool) -> dict:
    side = right_side(database, client, item)
    return {"outcome": "choice", "choice": side if right else {"left": "right", "right": "left"}[side]}


def test_who_has_not_passed_gets_no_real_work_and_passing_opens_it(database, ann, taught):
    claimed = ann.post(f"{BASE}/assignments", json={"count": 2}).json()
    assert (claimed["state"], claimed["items"]) == ("unqualified", [])
    test = ann.post(f"{BASE}/qualification").json()
    assert (test["state"], test["total"], test["answered"], test["correct"]) == ("open", 4, 0, None)
    for number, item in enumerate(test["items"]):
        said = ann.post(f"{BASE}/qualification/{item['id']}", json=answers(database, ann, item, right=number != 1))
        assert said.status_code == 200 and said.json()["answered"] == number + 1
    assert (said.json()["state"], said.json()["correct"]) == ("passed", 3)
    assert ann.post(f"{BASE}/assignments", json={"count": 2}).json()["state"] == "ready"
    assert ann.post(f"{BASE}/qualification").status_code == 409
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Judgment)) == 0
        assert session.scalar(select(func.count()).select_from(Vote)) == 0


def test_a_question_is_answered_once_and_an_attempt_goes_on_where_it_was(database, ann, taught):
    test = ann.post(f"{BASE}/qualification").json()
    first = test["items"][0]
    url = f"{BASE}/qualification/{first['id']}"
    assert ann.post(url, json=answers(database, ann, first, right=False)).json()["answered"] == 1
    assert ann.post(url, json=answers(database, ann, first, right=True)).json()["answered"] == 1
    again = ann.post(f"{BASE}/qualification").json()
    assert again["number"] == 1 and [item["id"] for item in again["items"]] == [i["id"] for i in test["items"][1:]]
    with database.reading() as session:
        assert [row.is_correct for row in session.scalars(select(QualificationAnswer))] == [False]


def test_attempts_run_out_and_a_lead_grants_new_ones(database, ann, lead, taught):
    for number in (1, 2):
        test = ann.post(f"{BASE}/qualification").json()
        assert test["number"] == number
        for item in test["items"]:
            said = ann.post(f"{BASE}/qualification/{item['id']}", json={"outcome": "both_bad"})
        assert (said.json()["state"], said.json()["correct"]) == ("failed", 0)
    refused = ann.post(f"{BASE}/qualification")
    assert refused.status_code == 409 and "all attempts" in refused.json()["detail"]
    page = ann.get("/projects/street-scenes/test", headers={"accept-language": "zh"})
    assert "次数已用完" in page.text
    with database.reading() as session:
        who = session.scalars(select(Qualification.person_id)).first()
    assert lead.post(f"/projects/street-scenes/lessons/people/{who}/grant").status_code == 303
    assert ann.post(f"{BASE}/qualification").json()["number"] == 1


def test_practice_explains_and_stores_nothing(database, ann, lead, taught):
    items = ann.get(f"{BASE}/practice").json()
    assert len(items) == 2
    url = f"{BASE}/practice/{items[0]['id']}"
    right = ann.post(url, json=answers(database, ann, items[0], right=True)).json()
    wrong = ann.post(url, json=answers(database, ann, items[0], right=False)).json()
    assert (right["is_right"], wrong["is_right"]) == (True, False)
    assert right["expected"] == wrong["expected"] and right["expected"]["reasons"] == ["scale"]
    skipped = ann.post(url, json={"outcome": "skip", "skip_reason": "cannot_tell"})
    assert skipped.status_code == 422
    # The answers of the test are not told in practice.
    question = ann.post(f"{BASE}/qualification").json()["items"][0]
    assert ann.post(f"{BASE}/practice/{question['id']}", json={"outcome": "tie"}).status_code == 404
    assert lead.delete(f"{BASE}/lessons/{items[0]['id']}").status_code == 204
    assert len(ann.get(f"{BASE}/practice").json()) == 1


def test_a_lead_makes_a_lesson_of_their_own_judgment(database, lead, ann, world):
    (item,) = lead.post(f"{BASE}/assignments", json={"count": 1}).json()["items"]
    said = {"outcome": "choice", "choice": "right", "reasons": ["viewpoint"], "regions": [{"x": 0.5, "y": 0.25}]}
    key = {"idempotency-key": "lesson-of-lead"}
    judged = lead.post(f"/api/v1/assignments/{item['id']}/judgment", json=said, headers=key).json()
    body = {"judgment_id": judged["id"], "purpose": "practice", "explanation": "The ground is seen from above."}
    assert ann.post(f"{BASE}/lessons", json=body).status_code == 403
    assert lead.post(f"{BASE}/lessons", json=body).status_code == 201
    assert lead.post(f"{BASE}/lessons", json=body | {"explanation": "From above."}).status_code == 201
    (lesson,) = ann.get(f"{BASE}/practice").json()
    told = ann.post(f"{BASE}/practice/{lesson['id']}", json={"outcome": "tie"}).json()
    assert not told["is_right"] and told["explanation"] == "From above."
    assert told["expected"]["regions"][0]["x"] == 0.5
    page = lead.get("/projects/street-scenes/lessons")
    assert page.status_code == 200 and "From above." in page.text


def test_lessons_show_nothing_to_strangers_and_only_blinded_images(app, database, ann, taught):
    item = ann.get(f"{BASE}/practice").json()[0]
    stranger = client_of(app, add_person(database, "annotator"))
    for url in [*item["images"], item["subject"], item["mask"]]:
        answer = ann.get(url)
        assert answer.content.startswith(b"\x89PNG") and "etag" not in answer.headers
        assert stranger.get(url).status_code == 404
    assert ann.get(f"/judge/lessons/{item['id']}/images/5").status_code == 404
    with database.transaction() as session:
        project = session.scalars(select(Project)).one()
        project.settings = {}
    assert ann.post(f"{BASE}/assignments", json={"count": 1}).json()["state"] == "ready"


def test_two_windows_make_one_attempt_and_one_answer_to_each_question(database, world, lead, taught):
    """Windows that come when the test has ended already are told so, or begin the next attempt."""
    ann = add_annotator(database, world)
    with database.reading() as session:
        project = session.scalars(select(Project)).one()

    def window(_: int) -> None:
        with database.transaction() as session:
            _, items = lessons.take_test(session, project, ann)
        with database.transaction() as session:
            lessons.answer_question(session, project, ann, items[0].lesson.id, AnswerIn(outcome="both_bad"))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(window, range(3)))
    with database.reading() as session:
        (attempt,) = session.scalars(select(Qualification))
        given = list(session.scalars(select(QualificationAnswer.lesson_id)))
    assert 1 <= len(given) <= 3 and set(given) <= set(attempt.lesson_ids)
