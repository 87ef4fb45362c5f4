"""Import, the grid of conditions and the comparison of generators in a real browser."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from backend.accounts.models import Person
from backend.catalogue.models import Project
from tests.backend.catalogue import manifests as m
from tests.backend.catalogue.conftest import lead, project
from tests.browser.conftest import LogIn

__all__ = ["lead", "project"]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.postgres,
    pytest.mark.parametrize("database_url", ["postgres"], indirect=True),
]


@pytest.fixture
def page(logged_in: LogIn, lead: Person, project: Project) -> Page:
    page = logged_in(lead).new_page()
    page.set_default_timeout(30_000)
    return page


def take_in(page: Page, archive: Path, rows: list, content: dict[str, bytes], button: str) -> None:
    archive.write_bytes(m.zipped(rows, content))
    page.goto("/projects/street/import")
    page.set_input_files("#archive", archive)
    page.locator(f"#import-form button[value={button}]").click()


def test_an_import_names_bad_rows_then_is_checked_then_written(page: Page, tmp_path: Path):
    rows, content = m.good_import()
    take_in(page, tmp_path / "bad.zip", [*rows, m.row(image="../x.png"), "{oops"], content, "import")
    report = page.locator("#report")
    expect(report).to_contain_text("2 of 7 rows need correcting")
    expect(report.locator("tbody tr")).to_have_count(2)
    expect(report.locator("tbody tr").first).to_contain_text("leaves the manifest's folder")
    take_in(page, tmp_path / "good.zip", rows, content, "check")
    expect(report).to_contain_text("Ready to import 2 subjects, 3 conditions, 2 generators, 4 candidates.")
    report.get_by_role("button", name="Import 5 rows").click()
    expect(report).to_contain_text("Imported 2 subjects")
    page.set_input_files("#folder", m.folder(tmp_path / "photos", rows, content).parent)
    page.locator("#import-form button[value=import]").click()
    expect(report).to_contain_text("All 5 rows were imported before; nothing changed.")


def test_the_grid_goes_on_as_one_scrolls(page: Page, tmp_path: Path):
    rows = [m.row(condition=f"c{number}", prompt=f"car number {number}") for number in range(60)]
    take_in(page, tmp_path / "many.zip", rows, m.files(), "import")
    expect(page.locator("#report")).to_contain_text("Imported 1 subject, 60 conditions.")
    page.goto("/projects/street/conditions")
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    expect(page.locator("#grid > li")).to_have_count(60)
    expect(page.locator("#more")).to_have_count(0)


def test_the_divider_moves_by_keys(page: Page, tmp_path: Path):
    take_in(page, tmp_path / "good.zip", *m.good_import(), "import")
    expect(page.locator("#report")).to_contain_text("Imported")
    page.goto("/projects/street/compare")
    slider = page.get_by_role("slider").first
    slider.focus()
    slider.press("ArrowRight")
    expect(page.locator("[data-swipe]").first).to_have_attribute("style", "--at: 51%;")
