"""Projects, members, generators and images over REST: who reaches what, and what never changes."""

import pytest

from backend.catalogue.guidelines import render_markdown
from tests.backend.catalogue import manifests as m
from tests.people import add_person, client_of, token_of

API = "/api/v1/projects"


def test_a_project_is_made_changed_and_listed(app, database):
    lead = client_of(app, add_person(database, "lead"))
    made = lead.post(API, json={"name": "Möbel & more"}, headers={"Idempotency-Key": "k"})
    assert made.status_code == 201 and made.json()["slug"] == "mobel-more"
    assert lead.post(API, json={"name": "Möbel & more"}, headers={"Idempotency-Key": "k"}).json() == made.json()
    assert lead.post(API, json={"name": "Möbel more"}).status_code == 409
    change = {"guidelines": "# Look", "settings": {"judgments_per_comparison": 3, "of_a_newer_room": [1]}}
    changed = lead.patch(f"{API}/mobel-more", json=change).json()
    assert changed["settings"]["judgments_per_comparison"] == 3
    assert changed["settings"]["of_a_newer_room"] == [1] and changed["settings"]["send_when_complete"] is True
    refused = lead.patch(f"{API}/mobel-more", json={"settings": {"judgments_per_comparison": 0}})
    assert refused.status_code == 422 and "judgments_per_comparison" in refused.json()["detail"]
    assert [project["slug"] for project in lead.get(API).json()["items"]] == ["mobel-more"]
    assert lead.post(API, json={"name": "???"}).status_code == 422


def test_only_members_and_admins_reach_a_project(app, database, as_lead, project):
    stranger, admin = add_person(database, "lead"), add_person(database, "admin")
    annotator = add_person(database, "annotator")
    assert client_of(app, stranger).get(f"{API}/street").status_code == 404
    assert client_of(app, stranger).get(API).json()["items"] == []
    assert client_of(app, admin).get(f"{API}/street").status_code == 200
    assert client_of(app, annotator).get(f"{API}/street").status_code == 404
    assert as_lead.put(f"{API}/street/members/{annotator.id}").status_code == 200
    assert as_lead.put(f"{API}/street/members/{annotator.id}").status_code == 200
    assert len(as_lead.get(f"{API}/street/members").json()) == 2
    member = client_of(app, annotator)
    assert member.get(f"{API}/street").status_code == 200
    for path in ("/conditions", "/generators", "/candidates", "/subjects", "/imports", "/members", "/counts"):
        assert member.get(f"{API}/street{path}").status_code == 403, path
    for page in ("conditions", "generators", "compare", "import"):
        assert member.get(f"/projects/street/{page}", headers={"accept": "text/html"}).status_code == 403, page
    assert as_lead.delete(f"{API}/street/members/{annotator.id}").status_code == 204
    assert member.get(f"{API}/street").status_code == 404


def test_tokens_need_the_scope_of_what_they_do(client, database, lead, project):
    archive = ("i.zip", m.zipped(*m.good_import()), "application/zip")
    reading, importing = token_of(database, lead, "read"), token_of(database, lead, "import")
    url = f"{API}/street/imports"
    assert client.post(url, files={"file": archive}, headers=reading).status_code == 403
    assert client.post(url, files={"file": archive}, headers=importing).status_code == 201
    assert client.get(f"{API}/street/conditions", headers=reading).status_code == 200


def test_a_generator_never_changes_once_it_has_produced(as_lead, upload):
    made = as_lead.post(f"{API}/street/generators", json={"name": "ours", "base": "spatialworld"}).json()
    assert made["sampler"] == {"steps": 20, "guidance": 1.0} and made["is_frozen"] is False
    changed = as_lead.patch(f"{API}/street/generators/{made['id']}", json={"sampler": {"steps": 8}})
    assert changed.json()["sampler"]["steps"] == 8 and changed.json()["name"] == "ours"
    assert as_lead.post(f"{API}/street/generators", json={"name": "ours"}).status_code == 409
    upload(m.zipped(*m.good_import()))
    frozen = next(g for g in as_lead.get(f"{API}/street/generators").json()["items"] if g["name"] == "flux")
    assert frozen["is_frozen"] and frozen["base"] is None
    refused = as_lead.patch(f"{API}/street/generators/{frozen['id']}", json={"name": "other"})
    assert refused.status_code == 409 and refused.json()["code"] == "generator_frozen"
    assert "Make a new generator" in refused.json()["detail"]
    claims = [m.row(condition="car-field", prompt="a red car in a field", candidate="c/1.png", generator="ours")]
    answer = upload(m.zipped(claims, m.good_import()[1]))
    assert answer.status_code == 422 and "makes its candidates here" in answer.json()["problems"][0]["message"]


def test_lists_page_by_key(as_lead, upload):
    rows = [m.row(condition=f"c{number}", prompt=f"car number {number}") for number in range(7)]
    upload(m.zipped(rows, m.files()))
    seen, cursor = [], None
    while True:
        page = as_lead.get(f"{API}/street/conditions", params={"limit": 3, "cursor": cursor}).json()
        seen += [item["external_id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [f"c{number}" for number in reversed(range(7))]
    found = as_lead.get(f"{API}/street/conditions", params={"q": "NUMBER 3"}).json()["items"]
    assert [item["external_id"] for item in found] == ["c3"]
    assert as_lead.get(f"{API}/street/conditions", params={"q": "100%"}).json()["items"] == []
    assert as_lead.get(f"{API}/street/conditions", params={"cursor": "nonsense"}).status_code == 422


def test_images_are_for_leads_and_are_kept_by_browsers(app, database, as_lead, upload, settings):
    large = m.good_import()[1] | {"images/car.png": m.canvas(400), "masks/car.png": m.mask(400)}
    upload(m.zipped([m.row()], large))
    digest = as_lead.get(f"{API}/street/conditions").json()["items"][0]["image_digest"]
    full, small = as_lead.get(f"/images/{digest}"), as_lead.get(f"/images/{digest}?size=96")
    assert full.headers["content-type"] == "image/png" and "immutable" in full.headers["cache-control"]
    assert len(small.content) < len(full.content)
    assert small.content == as_lead.get(f"/images/{digest}?size=96").content
    assert list((settings.home / "thumbnails/96").rglob("*.png"))
    again = as_lead.get(f"/images/{digest}", headers={"if-none-match": full.headers["etag"]})
    assert again.status_code == 304 and not again.content
    assert as_lead.get(f"/images/{digest}?size=97").status_code == 422
    assert as_lead.get(f"/images/{'0' * 64}").status_code == 404
    annotator = client_of(app, add_person(database, "annotator"))
    assert annotator.get(f"/images/{digest}").status_code == 403


def test_guideline_images_are_for_everybody_in_the_project(app, database, as_lead, project):
    answer = as_lead.post(f"{API}/street/guidelines/images", files={"file": ("x.png", m.canvas(), "image/png")})
    assert answer.status_code == 201
    url = answer.json()["url"]
    annotator = add_person(database, "annotator")
    member = client_of(app, annotator)
    assert member.get(url).status_code == 404
    as_lead.put(f"{API}/street/members/{annotator.id}")
    assert member.get(url).status_code == 200
    assert member.get(url[:-64] + "0" * 64).status_code == 404
    broken = as_lead.post(f"{API}/street/guidelines/images", files={"file": ("x.png", b"no", "image/png")})
    assert broken.status_code == 422


@pytest.mark.embedded
def test_guidelines_keep_tables_and_lose_scripts():
    html = render_markdown(
        "# Scale\n\n|a|b|\n|-|-|\n|1|2|\n\n<script>alert(1)</script>\n\n[x](javascript:alert(1)) "
        "![own](/projects/p/guidelines/images/1) ![far](https://example.org/i.png) ![far](//example.org/i.png)"
    )
    assert "<table>" in html and "<h1>" in html
    assert "<script" not in html and 'href="javascript' not in html
    assert html.count("src=") == 1 and 'src="/projects/p/guidelines/images/1"' in html


def test_pages_show_what_is_there(as_lead, upload):
    html = {"accept": "text/html"}
    for page in ("conditions", "generators", "compare", "import"):
        assert as_lead.get(f"/projects/street/{page}", headers=html).status_code == 200, page
    upload(m.zipped(*m.good_import()))
    page = as_lead.get("/projects/street/conditions?split=validation", headers=html).text
    assert "a blue boat" in page and "a red car" not in page
    first = as_lead.get(f"{API}/street/conditions").json()["items"][-1]
    page = as_lead.get(f"/projects/street/conditions/{first['id']}", headers=html).text
    assert "flux" in page and "sdxl" in page and "seed 2" in page
    ids = {g["name"]: g["id"] for g in as_lead.get(f"{API}/street/generators").json()["items"]}
    page = as_lead.get(f"/projects/street/compare?left={ids['flux']}&right={ids['sdxl']}", headers=html).text
    assert page.count("data-swipe") == 1
    assert as_lead.get("/projects/street/conditions/99999", headers=html).status_code == 404


def test_the_import_page_works_without_scripts(as_lead):
    bad = m.zipped([m.row(image="../x.png")], m.files())
    page = as_lead.post("/projects/street/import", files={"file": ("i.zip", bad)}, data={"then": "import"})
    assert page.status_code == 422 and "leaves the manifest" in page.text
    good = m.zipped(*m.good_import())
    checked = as_lead.post("/projects/street/import", files={"file": ("i.zip", good)}, data={"then": "check"})
    assert "Ready to import" in checked.text
    done = as_lead.post("/projects/street/import", files={"file": ("i.zip", good)}, data={"then": "import"})
    assert "Imported 2 subjects" in done.text


def test_the_documented_example_can_be_imported(project, database, blobs):
    from pathlib import Path

    from backend.catalogue.importing import run_import
    from backend.catalogue.sources import FolderSource

    source = FolderSource(Path(__file__).parents[3] / "examples/import")
    report = run_import(database, blobs, project.id, source, person=None, max_image_bytes=1 << 20)
    assert report.summary() == "Imported 2 subjects, 2 conditions, 1 generator, 4 candidates."
    assert report.warnings == []
