"""The job that makes candidates, with the real sampler as its child."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import select

from backend.catalogue.blobs import BlobFact, remember_blobs
from backend.catalogue.models import Candidate, Condition, Generator, Verdict
from backend.generation.groups import seed_of
from backend.jobs.models import Job
from backend.jobs.runner import run_pending
from backend.judging.models import Comparison, ComparisonCandidate
from tests.backend.catalogue import manifests as m

GENERATIONS = "/api/v1/projects/street/generations"
# What the sampler does is the same on both databases, and each start of it costs seconds.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
on_postgres = pytest.mark.parametrize(
    "database_url", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)


def candidates(database) -> list[Candidate]:
    with database.reading() as session:
        return list(session.scalars(select(Candidate).order_by(Candidate.id)))


def run_job(settings, database, blobs) -> Job:
    [job] = run_pending(settings, database, blobs)
    return job


def pixels(blobs, digest: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(blobs.read(digest))))


def test_images_are_made_once_and_put_to_judgment(
    as_lead, conditions, new_generator, pipeline_folder, settings, database, blobs
):
    generator_id = new_generator("base", str(pipeline_folder))
    wanted = {
        "generator_ids": [generator_id],
        "split": "train",
        "seeds": [0, 1],
        "comparisons": {"kind": "win_lose", "k": 2, "wanted": 3},
    }
    key = {"Idempotency-Key": "once"}
    first = as_lead.post(GENERATIONS, json=wanted, headers=key)
    assert first.status_code == 202, first.text
    assert as_lead.post(GENERATIONS, json=wanted, headers=key).json() == first.json()
    job = run_job(settings, database, blobs)
    assert (job.state, job.error_message) == ("succeeded", None)
    assert job.result == {"candidates": 6, "comparisons": 3}
    made = candidates(database)
    with database.reading() as session:
        assert session.get(Generator, generator_id).is_frozen
        for candidate in made:
            condition = session.get(Condition, candidate.condition_id)
            image, mask = pixels(blobs, condition.image_digest), pixels(blobs, condition.mask_digest)
            drawn = pixels(blobs, candidate.image_digest)
            assert np.array_equal(drawn[mask == 0], image[mask == 0])
            assert candidate.sampler == {"steps": 2, "guidance": 1.0}
        comparisons = session.scalars(select(Comparison)).all()
        assert [item.open_slots for item in comparisons] == [3, 3, 3]
        entries = session.scalars(select(ComparisonCandidate)).all()
        assert len(entries) == 6
    assert len({candidate.image_digest for candidate in made}) == 6
    assert len({candidate.seed for candidate in made}) == 6, "each condition has noise of its own"

    again = as_lead.post(GENERATIONS, json=wanted | {"seeds": [1, 0]})
    assert again.status_code == 202
    assert run_job(settings, database, blobs).result == {"candidates": 0, "comparisons": 0}
    assert len(candidates(database)) == 6


@on_sqlite
def test_an_adapter_changes_the_images_and_meets_its_parent(
    as_lead, conditions, new_generator, pipeline_folder, settings, database, blobs, lora_file
):
    parent_id = new_generator("base", str(pipeline_folder))
    child_id = new_generator("tuned", str(pipeline_folder), parent_id=parent_id)
    digest = blobs.put_file(lora_file)
    with database.transaction() as session:
        remember_blobs(session, [BlobFact(digest, "application/octet-stream", lora_file.stat().st_size)])
        session.get_one(Generator, child_id).adapter_digest = digest
    wanted = {
        "generator_ids": [child_id, parent_id],
        "split": "validation",
        "seeds": [5, 6],
        "comparisons": {"kind": "arena"},
    }
    assert as_lead.post(GENERATIONS, json=wanted).status_code == 202
    job = run_job(settings, database, blobs)
    assert (job.state, job.result) == ("succeeded", {"candidates": 4, "comparisons": 2}), job.error_message
    by_key = {(row.generator_id, row.seed): row.image_digest for row in candidates(database)}
    with database.reading() as session:
        [held_out] = session.scalars(select(Condition).where(Condition.split == "validation"))
    seeds = [seed_of(held_out.external_id, draw) for draw in (5, 6)]
    assert set(by_key) == {(generator, seed) for generator in (child_id, parent_id) for seed in seeds}
    assert by_key[child_id, seeds[0]] != by_key[parent_id, seeds[0]]
    with database.reading() as session:
        for comparison in session.scalars(select(Comparison)):
            ids = session.scalars(
                select(ComparisonCandidate.candidate_id).where(ComparisonCandidate.comparison_id == comparison.id)
            ).all()
            pair = [session.get(Candidate, candidate_id) for candidate_id in ids]
            assert {row.generator_id for row in pair} == {parent_id, child_id}
            assert len({row.seed for row in pair}) == 1


@on_postgres
def test_a_job_started_again_goes_on_where_it_was(
    as_lead, conditions, new_generator, pipeline_folder, settings, database, blobs, monkeypatch
):
    from backend.generation.sampling import Harvest

    generator_id = new_generator("base", str(pipeline_folder))
    as_lead.post(GENERATIONS, json={"generator_ids": [generator_id], "seeds": [0]})
    real = Harvest.poll

    def dies_after_the_first_results(self: Harvest) -> None:
        real(self)
        if self.stored:
            raise RuntimeError("the worker dies here")

    with monkeypatch.context() as patch:
        patch.setattr(Harvest, "poll", dies_after_the_first_results)
        from backend.jobs.runner import run_one

        with database.reading() as session:
            job_id = session.scalar(select(Job.id))
        job = run_one(settings, database, blobs, job_id)
        assert job.state == "queued"
    kept = {row.id: row.image_digest for row in candidates(database)}
    assert kept
    job = run_job(settings, database, blobs)
    assert job.state == "succeeded"
    after = {row.id: row.image_digest for row in candidates(database)}
    assert len(after) == conditions and after.items() >= kept.items()


@on_sqlite
def test_images_of_a_generator_that_was_changed_meanwhile_are_not_kept(
    as_lead, conditions, new_generator, pipeline_folder, settings, database, blobs, monkeypatch
):
    from backend.generation.sampling import Harvest

    generator_id = new_generator("base", str(pipeline_folder))
    url = f"/api/v1/projects/street/generators/{generator_id}"
    as_lead.post(GENERATIONS, json={"generator_ids": [generator_id], "seeds": [0]})
    real, answers = Harvest.poll, []

    def changed_meanwhile(self: Harvest) -> None:
        if not answers:
            answers.append(as_lead.patch(url, json={"sampler": {"steps": 3}}).status_code)
        real(self)

    monkeypatch.setattr(Harvest, "poll", changed_meanwhile)
    job = run_job(settings, database, blobs)
    assert answers == [200]
    assert (job.state, job.error_code) == ("failed", "generator_changed")
    assert candidates(database) == [] and not as_lead.get(url).json()["is_frozen"]

    as_lead.post(GENERATIONS, json={"generator_ids": [generator_id], "seeds": [0]})
    assert run_job(settings, database, blobs).state == "succeeded"
    assert [row.sampler["steps"] for row in candidates(database)] == [3] * conditions
    assert as_lead.patch(url, json={"sampler": {"steps": 4}}).json()["code"] == "generator_frozen"


@on_sqlite
def test_verdicts_of_the_exact_judge_are_kept(as_lead, new_generator, pipeline_folder, settings, database, blobs):
    import json

    from trainer.spatialworld.scenes import condition_at

    condition = condition_at(3, 0)
    content = {"i.png": m.png(condition.image), "m.png": m.png(condition.mask)}
    row = m.row(image="i.png", mask="m.png", prompt=condition.prompt, spatialworld=condition.spec.to_json())
    archive = ("import.zip", m.zipped([json.dumps(row)], content), "application/zip")
    assert as_lead.post("/api/v1/projects/street/imports", files={"file": archive}).status_code == 201
    generator_id = new_generator("base", str(pipeline_folder))
    as_lead.post(GENERATIONS, json={"generator_ids": [generator_id], "seeds": [0, 1]})
    assert run_job(settings, database, blobs).state == "succeeded"
    with database.reading() as session:
        verdicts = session.scalars(select(Verdict)).all()
        assert len(verdicts) == 2 and all(verdict.judge == "spatialworld" for verdict in verdicts)
    page = as_lead.get("/api/v1/projects/street/candidates").json()
    assert page["items"][0]["verdicts"][0]["judge"] == "spatialworld"


def test_imported_candidates_are_put_to_judgment_without_a_gpu_worker(as_lead, settings, database, blobs):
    archive = ("import.zip", m.zipped(*m.good_import()), "application/zip")
    assert as_lead.post("/api/v1/projects/street/imports", files={"file": archive}).status_code == 201
    ids = {g["name"]: g["id"] for g in as_lead.get("/api/v1/projects/street/generators").json()["items"]}
    arena = {"generator_ids": [ids["flux"], ids["sdxl"]], "seeds": [0], "comparisons": {"kind": "arena"}}
    assert as_lead.post(GENERATIONS, json=arena).status_code == 202
    [job] = run_pending(settings, database, blobs, queues=("cpu",))
    assert (job.state, job.result) == ("succeeded", {"candidates": 0, "comparisons": 1})
    refused = as_lead.post(GENERATIONS, json={"generator_ids": [ids["flux"]], "seeds": [0]})
    assert refused.status_code == 422 and "known only by imported images" in refused.json()["detail"]


def test_what_cannot_be_made_is_refused_in_words(as_lead, conditions):
    refused = {
        "There is no generator 999": {"generator_ids": [999], "seeds": [0]},
        "generator_ids": {"generator_ids": [], "seeds": [0]},
        "names a seed twice": {"generator_ids": [1], "seeds": [0, 0]},
        "an arena needs two generators": {"generator_ids": [1], "seeds": [0], "comparisons": {"kind": "arena"}},
    }
    for words, body in refused.items():
        answer = as_lead.post(GENERATIONS, json=body)
        assert answer.status_code == 422 and words in answer.json()["detail"], words


@on_sqlite
def test_a_base_that_is_not_there_fails_with_its_words(as_lead, conditions, new_generator, settings, database, blobs):
    generator_id = new_generator("lost", "/nowhere/at/all")
    as_lead.post(GENERATIONS, json={"generator_ids": [generator_id], "seeds": [0]})
    job = run_job(settings, database, blobs)
    assert job.state == "failed" and job.error_code == "trainer_model_unavailable"
    assert "/nowhere/at/all" in job.error_message


@on_sqlite
def test_without_the_trainer_the_job_says_what_to_run(
    as_lead, conditions, new_generator, settings, database, blobs, monkeypatch
):
    monkeypatch.setattr("backend.generation.words.trainer_missing", lambda: ["torch"])
    generator_id = new_generator("base", "spatialworld")
    as_lead.post(GENERATIONS, json={"generator_ids": [generator_id], "seeds": [0]})
    job = run_job(settings, database, blobs)
    assert (job.state, job.error_code) == ("failed", "trainer_missing")
    assert "script/bootstrap" in job.error_message
    assert "script/bootstrap" in as_lead.get("/projects/street/generators").text


@pytest.fixture(scope="session")
def lora_file(pipeline_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA whose weights are far from zero, as diffusers saves it."""
    import torch
    from diffusers import FluxFillPipeline
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    transformer = FluxFillPipeline.from_pretrained(pipeline_folder).transformer
    transformer.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False))
    torch.manual_seed(0)
    layers = {name: torch.randn_like(value) for name, value in get_peft_model_state_dict(transformer).items()}
    folder = tmp_path_factory.mktemp("lora")
    FluxFillPipeline.save_lora_weights(folder, transformer_lora_layers=layers)
    return folder / "pytorch_lora_weights.safetensors"


@on_sqlite
def test_the_form_puts_an_arena_to_judgment_under_each_criterion(as_lead, conditions, new_generator, database):
    as_lead.patch("/api/v1/projects/street", json={"criteria": ["spatial_rationality", "text_alignment"]})
    pair = [new_generator("base", "/nowhere"), new_generator("tuned", "/nowhere")]
    page = as_lead.get("/projects/street/generators")
    assert 'name="criterion"' in page.text and "Text alignment" in page.text
    form = {"generator": pair, "first_seed": "0", "seed_count": "1", "kind": "arena", "criterion": "text_alignment"}
    assert as_lead.post("/projects/street/generators/make", data=form).status_code == 303
    with database.reading() as session:
        [job] = session.scalars(select(Job))
    assert (job.payload["comparisons"]["kind"], job.payload["comparisons"]["criterion"]) == ("arena", "text_alignment")
