"""Ids that no database holds."""

import re

import pytest
from fastapi import FastAPI

from backend.accounts.models import Role
from backend.catalogue.models import Project
from backend.kit.database import Database
from tests.backend.accounts.test_access import SAMPLES, routes_of
from tests.people import add_person, client_of


@pytest.mark.parametrize("number", [2**63, 10**30])
def test_an_id_beyond_what_a_column_holds_is_one_of_nothing(app: FastAPI, database: Database, number: int) -> None:
    with database.transaction() as session:
        session.add(Project(slug="streets", name="Street scenes"))
    client = client_of(app, add_person(database, Role.ADMIN))
    failed = []
    for method, path in routes_of(app):
        if not re.search(r"{\w*id}", path):
            continue
        address = re.sub(r"{(\w+)(:\w+)?}", lambda part: SAMPLES.get(part[1], str(number)), path)
        answer = client.request(method, address, json={} if method != "GET" else None)
        if answer.status_code not in {404, 422}:
            failed.append((method, path, answer.status_code))
    assert failed == []


def test_such_an_id_in_a_query_or_a_body_is_refused(app: FastAPI, database: Database) -> None:
    client = client_of(app, add_person(database, Role.ADMIN))
    number = 2**63
    for answer in (
        client.get(f"/api/v1/runs?project=streets&snapshot_id={number}"),
        client.post("/api/v1/runs", json={"snapshot_id": number, "recipe": "spatialworld_demo"}),
    ):
        assert answer.status_code == 422 and "snapshot_id" in answer.text
