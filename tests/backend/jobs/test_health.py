"""What the doctor finds."""

from pathlib import Path

import pytest

from backend.jobs.health import Level, check_all, check_blobs, check_broker, check_database, check_exposure, check_home
from backend.kit.database import Database
from backend.settings import Settings


def settings_of(folder: Path, **values) -> Settings:
    return Settings(_env_file=None, home=folder / "home", **values)


def test_a_configuration_that_works_is_found_to(settings: Settings, database: Database) -> None:
    findings = {check.name: check for check in check_all(settings)}
    assert [name for name, check in findings.items() if check.level is Level.BAD] == []
    assert "has schema version" in findings["database"].words
    assert findings["workers"].level is Level.NOTE


def test_an_empty_database_wants_migrating(tmp_path: Path) -> None:
    check = check_database(settings_of(tmp_path))
    assert check.level is Level.BAD
    assert check.way_out == "Run `inpaintdpo migrate`."


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql+psycopg://me:hidden@127.0.0.1:1/none", "cannot be reached"),
        ("nonsense", "INPAINTDPO_DATABASE_URL cannot be used"),
    ],
)
def test_a_database_that_cannot_be_used_is_told_without_its_password(tmp_path: Path, url: str, words: str) -> None:
    check = check_database(settings_of(tmp_path, database_url=url))
    assert check.level is Level.BAD
    assert words in check.words
    assert "hidden" not in check.words


def test_a_broker_that_is_down_is_told_without_its_password(tmp_path: Path) -> None:
    check = check_broker(settings_of(tmp_path, broker_url="redis://:hidden@127.0.0.1:1/0"))
    assert check.level is Level.BAD
    assert "hidden" not in check.words


@pytest.mark.redis
def test_a_broker_that_answers_is_good(tmp_path: Path, redis_url: str) -> None:
    assert check_broker(settings_of(tmp_path, broker_url=redis_url)).level is Level.GOOD


def test_a_home_that_is_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("in the way")
    assert check_home(settings_of(tmp_path)).level is Level.BAD
    assert [check.name for check in check_all(settings_of(tmp_path))] == ["home"]


@pytest.mark.parametrize("url", ["ftp://somewhere/else", "s3://bucket/prefix"])
def test_a_blob_store_that_does_not_work_is_told(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    check = check_blobs(settings_of(tmp_path, blob_url=url, s3_endpoint_url="http://127.0.0.1:1"))
    assert check.level is Level.BAD


def test_an_open_address_without_tls_is_noted(tmp_path: Path) -> None:
    assert check_exposure(settings_of(tmp_path, host="0.0.0.0")).level is Level.NOTE
    assert check_exposure(settings_of(tmp_path, host="0.0.0.0", public_url="https://a.example")).level is Level.GOOD
    assert check_exposure(settings_of(tmp_path)).level is Level.GOOD
