"""Imports through the real REST API: validated whole, written whole, harmless when repeated."""

import io
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import func, select

from backend.catalogue.importing import run_import
from backend.catalogue.models import Candidate, Condition, Generator, Import, Split, Subject
from backend.catalogue.sources import BucketSource, FolderSource
from backend.kit.models import Blob
from tests.backend.catalogue import manifests as m
from tests.people import add_person, client_of


def count(database, model) -> int:
    with database.reading() as session:
        return session.scalar(select(func.count()).select_from(model))


def problems(response) -> list[str]:
    assert response.status_code == 422, response.text
    return [f"row {item['row']}: {item['message']}" for item in response.json()["problems"]]


def test_a_zip_is_imported_and_its_repetition_changes_nothing(upload, database, blobs):
    archive = m.zipped(*m.good_import())
    first = upload(archive)
    assert first.status_code == 201, first.text
    assert first.json()["summary"] == "Imported 2 subjects, 3 conditions, 2 generators, 4 candidates."
    again = upload(archive)
    assert again.status_code == 200 and not again.json()["written"]
    assert again.json()["summary"] == "All 5 rows were imported before; nothing changed."
    assert [count(database, model) for model in (Subject, Condition, Generator, Candidate, Import)] == [2, 3, 2, 4, 1]
    with database.reading() as session:
        by_name = {row.external_id: row for row in session.scalars(select(Condition))}
        assert by_name["car-street"].split == Split.TRAIN and by_name["boat"].split == Split.VALIDATION
        assert by_name["car-field"].prompt == "a red car in a field"
        assert all(generator.is_frozen for generator in session.scalars(select(Generator)))
        for candidate in session.scalars(select(Candidate)):
            assert blobs.exists(candidate.image_digest)
            assert session.get(Blob, candidate.image_digest).width == 16


def test_folder_zip_and_bucket_are_one_and_the_same_import(project, database, blobs, upload, tmp_path, s3_folder):
    rows, content = m.good_import()
    limit = {"person": None, "max_image_bytes": 1 << 20}
    folder = FolderSource(m.folder(tmp_path / "in", rows, content))
    first = run_import(database, blobs, project.id, folder, **limit)
    assert first.written
    assert not upload(m.zipped(rows, content, top="my photos/")).json()["written"]
    url, endpoint = s3_folder({"manifest.jsonl": m.jsonl(rows), **content})
    bucket = run_import(database, blobs, project.id, BucketSource(url, endpoint_url=endpoint), **limit)
    assert bucket.is_repetition and bucket.ok


def test_a_bucket_is_read_for_admins_and_where_a_setting_allows_it(app, as_lead, database, settings, s3_folder):
    rows, content = m.good_import()
    url, endpoint = s3_folder({"manifest.jsonl": m.jsonl(rows), **content})
    app.state.settings = settings.model_copy(update={"s3_endpoint_url": endpoint})
    imports = "/api/v1/projects/street/imports"
    refused = as_lead.post(imports, json={"source": url})
    assert refused.status_code == 403 and "INPAINTDPO_IMPORT_SOURCES" in refused.json()["detail"]
    admin = client_of(app, add_person(database, "admin"))
    missing = admin.post(imports, json={"source": "s3://photos/nothing"})
    assert missing.status_code == 404 and "holds none of manifest.jsonl" in missing.json()["detail"]
    assert admin.post(imports, json={"source": url}).status_code == 201
    app.state.settings = app.state.settings.model_copy(update={"import_sources": "s3://other, s3://photos/street"})
    assert as_lead.post(imports, json={"source": url}).status_code == 200
    assert as_lead.post(imports, json={"source": "s3://photos/streets"}).status_code == 403
    assert as_lead.post(imports, json={"source": "file:///etc"}).status_code == 422


def test_a_larger_manifest_adds_only_what_is_new(upload, database):
    rows, content = m.good_import()
    upload(m.zipped(rows[:2], content))
    answer = upload(m.zipped(rows, content)).json()
    assert answer["counts"]["candidates"] == {"new": 2, "known": 2}
    assert count(database, Candidate) == 4


def test_every_bad_row_is_named_and_nothing_is_written(upload, database, blobs):
    content = m.files() | {
        "small.png": m.mask(8),
        "full.png": m.png(np.full((16, 16), 255, np.uint8)),
        "soft.png": m.png(np.full((16, 16), 90, np.uint8) + np.arange(16, dtype=np.uint8)),
        "deep.png": m.png(np.full((16, 16), 40_000, np.uint16)),
        "coloured.png": m.canvas(),
        "text.png": b"not an image",
        "cut.png": m.canvas()[:60],
    }
    rows = [
        m.row(condition="good"),
        m.row(condition="a", mask="small.png"),
        m.row(condition="b", mask="full.png"),
        m.row(condition="c", mask="soft.png"),
        m.row(condition="d", mask="deep.png"),
        m.row(condition="e", mask="coloured.png"),
        m.row(condition="f", image="text.png"),
        m.row(condition="g", image="cut.png"),
        m.row(condition="h", image="../secret.png"),
        m.row(condition="i", image="/etc/passwd"),
        m.row(condition="j", image="gone.png"),
        m.row(prompt=None),
        "{not json",
        m.row(condition="k", colour="red"),
        m.row(condition="l", split="test"),
        m.row(condition="m", seed=3),
    ]
    found = problems(upload(m.zipped(rows, content)))
    expected = {
        2: "mask “small.png” is 8x8 but image “images/car.png” is 16x16. Redraw the mask at the image's size.",
        3: "no subject to keep",
        4: "The sure subject must be 0",
        5: "more than 8 bits",
        6: "is coloured",
        7: "is not a PNG, JPEG or WebP image",
        8: "cannot be decoded",
        9: "leaves the manifest's folder",
        10: "is not relative",
        11: "is not in the zip",
        12: "“prompt” is missing",
        13: "this is not JSON",
        14: "unknown column “colour”",
        15: "Write “train” or “validation”",
        16: "no candidate image",
    }
    for number, words in expected.items():
        assert any(line.startswith(f"row {number}: ") and words in line for line in found), (number, found)
    assert not any(line.startswith("row 1:") for line in found)
    assert [count(database, model) for model in (Subject, Condition, Blob, Import)] == [0, 0, 0, 0]
    assert not list(blobs.root.rglob("*.png")) and not any(blobs.root.glob("*/*"))


def test_rows_that_contradict_each_other_are_named(upload):
    content = m.files() | {"c/1.png": m.candidate(1), "c/2.png": m.candidate(2)}
    same = {"condition": "one", "generator": "flux"}
    rows = [
        m.row(**same, candidate="c/1.png", seed=1, split="train"),
        m.row(**same, candidate="c/1.png", seed=1),
        m.row(**same, candidate="c/2.png", seed=1),
        m.row(condition="two", split="validation"),
        m.row(**same, prompt="another prompt", candidate="c/2.png", seed=4),
        m.row(condition="three"),
        m.row(condition="three"),
    ]
    found = problems(upload(m.zipped(rows, content)))
    assert found == [
        "row 2: it repeats row 1: the same candidate. Remove one of them.",
        "row 3: condition “one” already has a candidate of “flux” with seed 1 in row 1, and another image. "
        "Give it its own seed.",
        "row 4: subject “car-1” is in validation here but in train in row 1. A subject belongs to one split: "
        "correct one of them.",
        "row 5: condition “one” has another prompt than in row 1. Give it the same, or another condition name.",
        "row 7: it repeats row 6: the same condition, without a candidate. Remove one of them.",
    ]


def test_what_contradicts_the_stored_is_refused(upload):
    rows, content = m.good_import()
    assert upload(m.zipped(rows, content)).status_code == 201
    changed = [
        m.row(condition="car-street", prompt="a changed prompt"),
        m.row(condition="new", split="validation"),
        m.row(condition="car-field", prompt="a red car in a field", candidate="c/1.png", generator="flux", seed=1),
        m.row(condition="boat", subject="boat-1", image="images/boat.png", prompt="a blue boat",
              candidate="c/1.png", generator="flux", seed=5),
    ]  # fmt: skip
    found = problems(upload(m.zipped(changed, content)))
    assert found[0].startswith("row 1: condition “car-street” is stored with another prompt.")
    assert found[1].startswith("row 2: subject “car-1” is in validation here but is stored in train.")
    assert len(found) == 2
    other_image = content | {"c/1.png": m.candidate(77)}
    found = problems(upload(m.zipped(rows[:1], other_image)))
    assert "already has a candidate of “flux” with seed 1, and another image" in found[0]


def test_a_check_writes_nothing_and_warns_of_an_inverted_mask(upload, database):
    content = {"images/car.png": m.canvas(), "masks/car.png": m.mask(inverted=True)}
    answer = upload(m.zipped([m.row()], content), dry_run=True)
    assert answer.status_code == 200
    assert answer.json()["summary"] == "Ready to import 1 subject, 1 condition."
    assert "may be inverted" in answer.json()["warnings"][0]["message"]
    assert count(database, Condition) == 0


def test_the_true_foreground_is_pasted_and_metadata_is_gone(upload, database, blobs):
    drifted = np.full((16, 16, 3), 90, np.uint8)
    image = Image.fromarray(drifted)
    exif = Image.Exif()
    exif[0x010E] = "made by generator flux"
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=exif, quality=95)
    content = m.files() | {"c.jpg": buffer.getvalue()}
    answer = upload(m.zipped([m.row(candidate="c.jpg")], content))
    assert answer.status_code == 201
    assert "shows another subject" in answer.json()["warnings"][0]["message"]
    with database.reading() as session:
        data = blobs.read(session.scalar(select(Candidate.image_digest)))
    assert b"flux" not in data and data.startswith(b"\x89PNG")
    pixels = np.asarray(Image.open(io.BytesIO(data)))
    assert (pixels[4:8, 4:8] == (200, 40, 40)).all() and abs(int(pixels[0, 0, 0]) - 90) < 8


def test_subjects_without_a_split_are_split_by_their_name_for_ever(upload, database):
    content = m.files()
    rows = [m.row(subject=f"s{number}", condition=f"c{number}") for number in range(60)]
    upload(m.zipped(rows[:30], content))
    with database.reading() as session:
        first = {row.external_id: row.split for row in session.scalars(select(Subject))}
    upload(m.zipped(rows, content))
    with database.reading() as session:
        both = {row.external_id: row.split for row in session.scalars(select(Subject))}
        conditions = session.scalars(select(Condition)).all()
        assert all(row.split == both[row.subject.external_id] for row in conditions)
    assert both.items() >= first.items()
    assert 4 <= sum(split == Split.VALIDATION for split in both.values()) <= 22


def test_csv_and_jsonl_say_the_same(upload):
    csv = (
        "subject,image,mask,prompt,spatialworld,seed,candidate,generator\r\n"
        'car-1,images/car.png,masks/car.png,"a car, red","{""kind"": ""car""}",5,c.png,flux\r\n'
    )
    content = m.files() | {"c.png": m.candidate(1)}
    assert upload(m.zipped(csv.encode(), content, name="manifest.csv")).status_code == 201
    same = m.row(prompt="a car, red", spatialworld={"kind": "car"}, seed=5, candidate="c.png", generator="flux")
    assert upload(m.zipped([same], content)).status_code == 200


def link_in_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("manifest.jsonl", m.jsonl([m.row()]))
        archive.writestr("masks/car.png", m.mask())
        info = zipfile.ZipInfo("images/car.png")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    return buffer.getvalue()


def test_hostile_archives_are_refused_in_words(upload, database):
    assert "is a link" in problems(upload(link_in_zip()))[0]
    bomb = m.zipped([m.row(image="bomb.png")], m.files(**{"bomb.png": b"\0" * (32 << 20)}))
    assert "zip bomb" in upload(bomb).json()["detail"]
    assert "not a zip" in upload(b"PK nonsense").json()["detail"]
    assert "holds none of manifest.jsonl" in upload(m.zipped([m.row()], {}, name="readme.txt")).json()["detail"]
    huge = io.BytesIO()
    Image.new("1", (9_000, 9_000)).save(huge, "PNG")
    answer = upload(m.zipped([m.row(image="huge.png")], m.files(**{"huge.png": huge.getvalue()})))
    assert "pixels; at most" in problems(answer)[0]
    assert count(database, Condition) == 0


def test_a_link_out_of_a_folder_is_not_followed(project, database, blobs, tmp_path: Path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(m.canvas())
    manifest = m.folder(tmp_path / "in", [m.row(image="images/link.png")], m.files())
    (tmp_path / "in/images/link.png").symlink_to(secret)
    source = FolderSource(manifest)
    report = run_import(database, blobs, project.id, source, person=None, max_image_bytes=1 << 20)
    assert [problem.text() for problem in report.problems] == [
        "row 1: image “images/link.png” is a link that leaves the folder."
    ]


def test_a_folder_can_be_sent_file_by_file(as_lead):
    rows, content = m.good_import()
    everything = {"manifest.jsonl": m.jsonl(rows), **content}
    files = [("files", (f"photos/{path}", data)) for path, data in everything.items()]
    answer = as_lead.post("/api/v1/projects/street/imports", files=files)
    assert answer.status_code == 201, answer.text
    escape = [("files", ("../../evil.png", b"x")), ("files", ("manifest.jsonl", b"{}"))]
    answer = as_lead.post("/api/v1/projects/street/imports", files=escape)
    assert answer.status_code == 422 and "leaves the manifest's folder" in answer.json()["detail"]


@pytest.mark.parametrize("threads", [4])
def test_the_same_import_at_once_is_written_once(project, database, blobs, tmp_path, threads):
    from concurrent.futures import ThreadPoolExecutor

    manifest = m.folder(tmp_path / "in", *m.good_import())

    def run(_: int) -> bool:
        source = FolderSource(manifest)
        return run_import(database, blobs, project.id, source, person=None, max_image_bytes=1 << 20).written

    with ThreadPoolExecutor(threads) as pool:
        assert sorted(pool.map(run, range(threads))) == [False] * (threads - 1) + [True]
    assert count(database, Candidate) == 4 and count(database, Import) == 1
