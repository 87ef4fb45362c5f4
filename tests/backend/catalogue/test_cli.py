"""`inpaintdpo import` as a person types it, on the example that ships with the project."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from backend.catalogue import repository
from backend.catalogue.cli import app
from backend.kit.database import Database

EXAMPLE = Path(__file__).parents[3] / "examples" / "import"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sqlite_url: str):
    monkeypatch.setenv("INPAINTDPO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("INPAINTDPO_DATABASE_URL", sqlite_url)

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(app, [*map(str, arguments)])

    return call


def projects(url: str) -> list[str]:
    database = Database(url)
    with database.reading() as session:
        found = [project.slug for project in repository.all_projects(session)]
    database.dispose()
    return found


def test_a_check_for_a_new_project_looks_at_all_rows_and_makes_nothing(run, sqlite_url: str, tmp_path: Path) -> None:
    good = run(EXAMPLE, "--project", "street", "--check")
    assert (good.exit_code, good.output.splitlines()[-1][:15]) == (0, "Ready to import")
    broken = shutil.copytree(EXAMPLE, tmp_path / "broken")
    (broken / "boat-mask.png").unlink()
    bad = run(broken, "--project", "street", "--check")
    assert bad.exit_code == 1 and "mask “boat-mask.png” is not there." in bad.output
    assert projects(sqlite_url) == []


def test_an_import_makes_its_project_and_a_second_one_changes_nothing(run, sqlite_url: str) -> None:
    first = run(EXAMPLE, "--project", "street", "--json")
    assert first.exit_code == 0 and json.loads(first.output)["counts"]["candidates"] == {"new": 4, "known": 0}
    again = run(EXAMPLE)
    assert again.exit_code == 0 and "nothing changed" in again.output
    assert projects(sqlite_url) == ["street"]


def test_a_manifest_that_is_not_there_is_said_in_words(run, tmp_path: Path) -> None:
    missing = run(tmp_path / "none.zip", "--project", "street")
    assert missing.exit_code == 2 and "There is no file" in missing.output and "Traceback" not in missing.output


@pytest.mark.parametrize("options", [[], ["--check"]])
def test_a_name_that_no_project_can_have_is_refused_in_words(run, sqlite_url: str, options: list[str]) -> None:
    answer = run(EXAMPLE, "--project", "My Street", *options)
    assert answer.exit_code == 2
    assert "“My Street”" in answer.output and "such as street-scenes" in answer.output
    assert projects(sqlite_url) == []
