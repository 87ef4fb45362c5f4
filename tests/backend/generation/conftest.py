"""A small real pipeline to sample with, and a project with conditions that fit it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from tests.backend.catalogue import manifests as m
from tests.backend.catalogue.conftest import as_lead, lead, project

__all__ = ["as_lead", "lead", "project"]

SIZE = 32


@pytest.fixture(scope="session")
def pipeline_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained FluxFillPipeline with every part, saved as usual."""
    from trainer.spatialworld import build_pipeline

    folder = tmp_path_factory.mktemp("pipeline")
    build_pipeline(seed=0, debug=True).save_pretrained(folder)
    return folder


@pytest.fixture
def conditions(as_lead: TestClient) -> int:
    """Three training conditions and one held out; how many there are."""
    content, rows = {}, []
    for number in range(4):
        pixels = np.full((SIZE, SIZE), 255, np.uint8)
        pixels[12:24, 4 + number : 14 + number] = 0
        content |= {f"{number}.png": m.canvas(SIZE, (200, 40, 40 * number)), f"{number}m.png": m.png(pixels)}
        split = "validation" if number == 3 else "train"
        rows.append(m.row(subject=f"s{number}", split=split, image=f"{number}.png", mask=f"{number}m.png"))
    archive = ("import.zip", m.zipped(rows, content), "application/zip")
    assert as_lead.post("/api/v1/projects/street/imports", files={"file": archive}).status_code == 201
    return len(rows)


@pytest.fixture
def new_generator(as_lead: TestClient) -> Callable[..., int]:
    """Adds a generator over REST; gives its id."""

    def add(name: str, base: str | None, **more: object) -> int:
        body = {"name": name, "base": base, "sampler": {"steps": 2}, **more}
        answer = as_lead.post("/api/v1/projects/street/generators", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    return add
