"""The pages on which leads change settings and guidelines."""

import io

import pytest
from PIL import Image
from sqlalchemy import update

from backend.catalogue.models import Project, ProjectMember
from backend.catalogue.schemas import ProjectSettings
from backend.judging import repository_standing
from backend.judging.models_serving import Standing
from tests.backend.judging.world import add_annotator, build
from tests.people import add_person, client_of

BASE = "/projects/street-scenes"
FORM = {"name": "Street scenes", "criteria": ["overall"], "reasons": "required", "break_minutes": "30"}
KEPT = {"judgments_per_comparison": "2", "qualification_pass_mark": "80", "qualification_attempts": "3"}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Forms are the same on both databases."""
    return sqlite_url


@pytest.fixture
def world(database, blobs):
    return build(database, comparisons=1, blobs=blobs, size=16, settings={"of_a_newer_room": [1], "paused": True})


@pytest.fixture
def lead(app, database, world):
    person = add_person(database, "lead")
    with database.transaction() as session:
        session.add(ProjectMember(project_id=world.project.id, person_id=person.id))
    return client_of(app, person)


def stored(database) -> Project:
    with database.reading() as session:
        return session.query(Project).one()


def test_every_setting_is_on_the_page_with_its_words(lead):
    page = lead.get(f"{BASE}/settings").text
    for name, field in ProjectSettings.model_fields.items():
        assert f'name="{name}"' in page
        assert field.description


def test_a_lead_changes_settings_and_what_the_form_lacks_stays(lead, database):
    saved = lead.post(f"{BASE}/settings", data=FORM | KEPT | {"best_worst": "yes"})
    assert (saved.status_code, saved.headers["location"]) == (303, f"{BASE}/settings?saved=settings")
    project = stored(database)
    assert project.criteria == ["overall"]
    assert project.settings["reasons"] == "required" and project.settings["break_minutes"] == 30
    assert project.settings["best_worst"] is True and project.settings["paused"] is False
    assert project.settings["of_a_newer_room"] == [1]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"break_minutes": "soon"}, "Write a whole number."),
        ({"qualification_pass_mark": "101"}, "Write at most 100."),
        ({"name": " "}, "Fill this in."),
        ({"criteria": []}, "Choose at least one."),
    ],
)
def test_what_is_wrong_stands_beside_its_field_and_nothing_is_saved(lead, database, wrong, words):
    refused = lead.post(f"{BASE}/settings", data=FORM | KEPT | wrong)
    assert refused.status_code == 422 and words in refused.text
    assert stored(database).settings["paused"] is True


def test_guidelines_are_shown_before_they_are_saved_and_hold_images(lead, database):
    draft = {"guidelines": "# Look\r\n\n<script>alert(1)</script> **well**", "then": "show"}
    shown = lead.post(f"{BASE}/guidelines/edit", data=draft)
    assert "<strong>well</strong>" in shown.text and "<script>alert" not in shown.text
    assert stored(database).guidelines == ""
    assert lead.post(f"{BASE}/guidelines/edit", data=draft | {"then": "save"}).status_code == 303
    assert stored(database).guidelines.startswith("# Look\n")
    picture = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(picture, "PNG")
    form = {"guidelines": "# Look", "alt": "A red square"}
    added = lead.post(f"{BASE}/guidelines/edit/image", data=form, files={"file": ("red.png", picture.getvalue())})
    assert added.status_code == 303
    page = lead.get(f"{BASE}/guidelines").text
    assert f'src="{BASE}/guidelines/images/' in page and 'alt="A red square"' in page
    nothing = lead.post(f"{BASE}/guidelines/edit/image", data=form, files={"file": ("no.png", b"no image")})
    assert nothing.status_code == 422 and "not a PNG" in nothing.text


def test_annotators_reach_neither_page(app, database, world):
    ann = client_of(app, add_annotator(database, world))
    for path in ("settings", "guidelines/edit", "lessons"):
        assert ann.get(f"{BASE}/{path}").status_code == 403
        assert ann.post(f"{BASE}/{path}", data=FORM).status_code == 403


@pytest.mark.parametrize(
    ("seen", "own", "shown"), [(12, {}, True), (9, {}, False), (12, {"show_agreement": False}, False)]
)
def test_annotators_see_their_agreement_once_it_tells_nothing_of_single_answers(app, database, world, seen, own, shown):
    ann = add_annotator(database, world)
    with database.transaction() as session:
        session.query(Project).one().settings = own
        repository_standing.ensure(session, world.project.id, ann.id)
        session.execute(update(Standing).values(gold_seen=seen, gold_right=9))
    page = client_of(app, ann).get(BASE).text
    assert ("75 %" in page) == shown and ("My agreement" in page) == shown
