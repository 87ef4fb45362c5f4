"""Freezing: what may be, what comes out, and that the same judgments and rules give the same hash."""

import io
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from backend.catalogue.models import Candidate, Generator, Split
from backend.datasets import repository, service
from backend.datasets.archive import read_contents, unpack_archive
from backend.datasets.models import Snapshot, SnapshotState
from backend.jobs import service as jobs
from backend.jobs.context import JobContext
from backend.jobs.errors import JobFailed
from backend.jobs.models import Job
from backend.jobs.registry import get_kind
from backend.judging.models import ComparisonKind
from backend.kit.blobs import LocalBlobs
from backend.kit.database import Database
from backend.kit.errors import Conflict
from backend.preferences.schemas import PairRules
from backend.settings import Settings
from tests.backend.preferences.world import World, judged_world
from trainer.contract.errors import SnapshotError
from trainer.contract.snapshot import verify_snapshot


@pytest.fixture
def world(database: Database, blobs: LocalBlobs) -> Iterator[World]:
    with database.transaction() as session:
        world = judged_world(session, blobs)
    yield world


def freeze(world: World, database: Database, settings: Settings, name: str | None, rules: PairRules) -> Snapshot:
    """Creates a snapshot and does its job as a worker would."""
    with database.transaction() as session:
        snapshot_id = service.create_snapshot(session, world.project, name, rules).id
    do_job(world, database, settings)
    with database.reading() as session:
        return session.get_one(Snapshot, snapshot_id)


def begin(world: World, database: Database, settings: Settings) -> tuple[jobs.Claim, JobContext]:
    with database.transaction() as session:
        claim = jobs.claim(session, queues=("cpu",), worker="test", lease_seconds=60)
    assert claim is not None
    return claim, JobContext(settings=settings, database=database, blobs=world.blobs, claim=claim, worker="test")


def do_job(world: World, database: Database, settings: Settings) -> None:
    claim, context = begin(world, database, settings)
    try:
        result = get_kind(claim.kind).handler(context, claim.payload)
    except JobFailed as error:
        with database.transaction() as session:
            jobs.fail(session, claim.job_id, claim.fence, error.code, error.message, retry=error.retry)
    else:
        with database.transaction() as session:
            jobs.succeed(session, claim.job_id, claim.fence, result)


def test_a_snapshot_is_frozen_verified_and_unpacked(
    world: World, database: Database, settings: Settings, tmp_path: Path
) -> None:
    snapshot = freeze(world, database, settings, "first", PairRules())
    assert snapshot.state == SnapshotState.READY, snapshot.failure
    folder = service.materialise(world.blobs, snapshot, tmp_path / "unpacked")
    frozen = verify_snapshot(folder)
    assert frozen.manifest.content_hash == snapshot.content_hash
    assert frozen.manifest.rules["threshold"] == 0.75 and frozen.manifest.rules["include_simulated"] is False
    assert snapshot.counts["pairs"] == len(frozen.pairs) > 0
    assert snapshot.counts["judgments"] == 12 and snapshot.counts["reasons"]["scale"] == len(frozen.pairs)
    by_split = {
        split: {frozen.by_id[pair.condition_id].subject_id for pair in frozen.pairs_of(split)}
        for split in ("train", "validation")
    }
    assert by_split["train"] and by_split["validation"] and not by_split["train"] & by_split["validation"]
    pair = frozen.pairs[0]
    assert pair.annotators == 2 and len(pair.judgments) == 2 and pair.reasons == ("scale", "viewpoint")
    with database.reading() as session:
        for candidate, seed in ((pair.win_candidate, pair.win_seed), (pair.lose_candidate, pair.lose_seed)):
            row = session.get_one(Candidate, int(candidate))
            sampled = session.get_one(Generator, row.generator_id).base is not None
            assert seed == (row.seed if sampled else None)
    assert snapshot.counts["winner_groups"] > 0
    # Unpacking again leaves what is there alone; another snapshot's folder is replaced.
    stamp = (folder / "manifest.json").stat().st_mtime_ns
    assert service.materialise(world.blobs, snapshot, folder) == folder
    assert (folder / "manifest.json").stat().st_mtime_ns == stamp
    assert [path.name for path in tmp_path.glob(".unpacked*")] == []


def test_same_judgments_and_rules_give_the_same_hash(
    world: World, database: Database, settings: Settings, tmp_path: Path
) -> None:
    first = freeze(world, database, settings, None, PairRules())
    second = freeze(world, database, settings, None, PairRules())
    other = freeze(world, database, settings, None, PairRules(max_pairs_per_condition=1))
    assert (first.name, second.name) == ("snapshot 1", "snapshot 2")
    assert first.content_hash == second.content_hash != other.content_hash
    # All but the manifest, which carries name and time, is the same byte for byte.
    first_files, second_files = (members(world.blobs.read(each.archive_digest or "")) for each in (first, second))
    assert list(first_files) == list(second_files)
    manifest = next(iter(first_files))
    assert manifest.endswith("/manifest.json")
    assert first_files.pop(manifest) != second_files.pop(manifest)
    assert first_files == second_files


def test_a_worker_lost_after_freezing_leaves_the_snapshot_frozen(
    world: World, database: Database, settings: Settings
) -> None:
    with database.transaction() as session:
        snapshot_id = service.create_snapshot(session, world.project, "first", PairRules()).id
    claim, context = begin(world, database, settings)
    result = get_kind(claim.kind).handler(context, claim.payload)
    with database.reading() as session:
        frozen = session.get_one(Snapshot, snapshot_id)
    with database.transaction() as session:
        jobs.hand_back(session, claim.job_id, claim.fence)
        judge_one_more(replace(world, session=session))
    do_job(world, database, settings)
    with database.reading() as session:
        after, job = session.get_one(Snapshot, snapshot_id), session.get_one(Job, claim.job_id)
    assert (job.state, job.result) == ("succeeded", result)
    assert (result["content_hash"], result["pairs"]) == (frozen.content_hash, frozen.counts["pairs"])
    assert (after.content_hash, after.archive_digest) == (frozen.content_hash, frozen.archive_digest)
    assert after.counts == frozen.counts


def judge_one_more(world: World) -> None:
    condition = world.condition(Split.TRAIN)
    shown = [world.candidate(condition, generator, 0) for generator in world.generators]
    comparison = world.comparison(shown, ComparisonKind.PAIRWISE, "spatial_rationality")
    for person in world.people[:2]:
        world.judge(comparison, person, shown, "wl")


def members(data: bytes) -> dict[str, bytes]:
    """The files of a tar, in its order; none carries a time or an owner."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = {}
        for member in tar:
            assert (member.mtime, member.uid, member.gid, member.uname) == (0, 0, 0, "")
            file = tar.extractfile(member)
            assert file is not None
            found[member.name] = file.read()
        return found


def test_tables_are_read_from_the_beginning_of_the_archive(
    world: World, database: Database, settings: Settings
) -> None:
    snapshot = freeze(world, database, settings, "first", PairRules())
    contents = read_contents(world.blobs, snapshot.archive_digest or "")
    assert len(contents.pairs) == snapshot.counts["pairs"]
    assert contents.manifest.content_hash == snapshot.content_hash


def test_a_damaged_archive_is_not_unpacked(
    world: World, database: Database, settings: Settings, tmp_path: Path
) -> None:
    snapshot = freeze(world, database, settings, "first", PairRules())
    assert isinstance(world.blobs, LocalBlobs)
    path = world.blobs.path(snapshot.archive_digest or "")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(SnapshotError, match="damaged"):
        service.materialise(world.blobs, snapshot, tmp_path / "unpacked")
    assert list(tmp_path.glob("*unpack*")) == []


def test_useless_snapshots_are_refused_with_the_way_out(world: World, database: Database) -> None:
    def create(rules: PairRules, name: str | None = None) -> None:
        with database.transaction() as session:
            service.create_snapshot(session, world.project, name, rules)

    with pytest.raises(service.NothingToFreeze, match=r"Nobody has compared anything on text alignment"):
        create(PairRules(criterion="text_alignment"))
    with pytest.raises(service.NothingToFreeze, match=r"No pair reaches p\(win\) 0\.99 .*Lower the threshold"):
        create(PairRules(threshold=0.99))
    create(PairRules(), "taken")
    with pytest.raises(Conflict, match="choose another name"):
        create(PairRules(), "taken")
    with database.transaction() as session:
        for condition in world.conditions:
            row = session.merge(condition)
            row.split = "train"
    with pytest.raises(service.OneSplit, match="are of training subjects"):
        create(PairRules())


def test_a_failed_build_says_why(world: World, database: Database, settings: Settings) -> None:
    with database.transaction() as session:
        snapshot_id = service.create_snapshot(session, world.project, "first", PairRules()).id
    assert isinstance(world.blobs, LocalBlobs)
    world.blobs.path(world.conditions[0].image_digest).unlink()
    do_job(world, database, settings)
    with database.reading() as session:
        snapshot = session.get_one(Snapshot, snapshot_id)
    assert snapshot.state == SnapshotState.FAILED
    assert "restore the blob store" in (snapshot.failure or "")
    with pytest.raises(service.NotReady, match="could not be frozen"):
        service.archive_digest(snapshot)


def test_runs_that_use_a_snapshot_are_its_lineage(world: World, database: Database, settings: Settings) -> None:
    snapshot = freeze(world, database, settings, "first", PairRules())

    def used(session: Session) -> dict[int, list[tuple[int, str, str, int | None]]]:
        return repository.runs_using(session, [snapshot.id])

    from backend.training.models import Run

    with database.transaction() as session:
        assert used(session) == {}
        run = Run(
            project_id=world.project.id,
            snapshot_id=snapshot.id,
            parent_generator_id=world.generators[0].id,
            name="run 1",
            recipe="demo",
            config={},
            config_hash="0" * 64,
            total_steps=1,
        )
        session.add(run)
        session.flush()
        assert used(session) == {snapshot.id: [(run.id, "run 1", "queued", None)]}


@pytest.mark.parametrize("name", ["s/../../escaped.txt", "s//etc/escaped.txt", "s/"])
def test_an_archive_whose_files_lie_elsewhere_is_not_unpacked(blobs: LocalBlobs, tmp_path: Path, name: str) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = 2
        tar.addfile(info, io.BytesIO(b"no"))
    digest = blobs.put(data.getvalue())
    with pytest.raises(SnapshotError, match="which no snapshot has"):
        unpack_archive(blobs, digest, tmp_path / "inner" / "snapshot")
    assert not list(tmp_path.rglob("escaped.txt"))
