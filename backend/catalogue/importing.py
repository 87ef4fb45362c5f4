"""Taking in a manifest: checked whole, then written whole or not at all; a second time it changes nothing.

One path for a folder, a zip and a bucket prefix, and for the command line, REST, the page and the demo.
"""

import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from backend.accounts.models import Person
from backend.accounts.service import audit
from backend.catalogue import repository
from backend.catalogue.blobs import PNG, BlobFact, remember_blobs
from backend.catalogue.manifest import Problem, parse_manifest
from backend.catalogue.models import Candidate, Condition, Generator, Import, Project, Split, Subject
from backend.catalogue.pictures import PictureDesk
from backend.catalogue.plans import Plan, Progress, make_plan, split_of
from backend.catalogue.sources import Source
from backend.kit.blobs import BlobStore
from backend.kit.database import Database

Counts = dict[str, dict[str, int]]


@dataclass
class ImportReport:
    """What an import did or would do. `written` is false for a check, for a refused import and for a repetition."""

    rows: int
    problems: list[Problem]
    warnings: list[Problem]
    counts: Counts = field(default_factory=dict)
    written: bool = False
    import_id: int | None = None
    content_hash: str | None = None

    @property
    def ok(self) -> bool:
        return not self.problems

    @property
    def is_repetition(self) -> bool:
        return self.ok and not any(count["new"] for count in self.counts.values())

    def summary(self) -> str:
        """One or two sentences for a person."""
        if self.problems:
            rows = len({problem.row for problem in self.problems})
            return f"Nothing was imported: {rows} of {self.rows} rows need correcting."
        if self.is_repetition:
            return f"All {self.rows} rows were imported before; nothing changed."
        parts = [_words(count["new"], name) for name, count in self.counts.items() if count["new"]]
        known = sum(count["known"] for name, count in self.counts.items() if name != "generators")
        verb = "Imported" if self.written else "Ready to import"
        tail = f" {known} {'was' if known == 1 else 'were'} there already." if known else ""
        return f"{verb} {', '.join(parts)}.{tail}"

    def as_dict(self) -> dict[str, Any]:
        document = asdict(self)
        for key in ("problems", "warnings"):
            document[key] = [{"row": item["row"], "message": item["message"]} for item in document[key]]
        return document | {"ok": self.ok, "summary": self.summary()}


def _words(count: int, name: str) -> str:
    return f"{count} {name.removesuffix('s') if count == 1 else name}"


def run_import(
    database: Database,
    blobs: BlobStore,
    project_id: int,
    source: Source,
    *,
    person: Person | None,
    max_image_bytes: int,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    """Checks the whole manifest and, unless something is wrong or `dry_run` is set, writes it in one transaction.

    Images go to the blob store first, where they harm nobody should the transaction fail. Raises Invalid where the
    manifest as a whole cannot be read.
    """
    parsed = parse_manifest(source.read_manifest(), source.manifest)
    with tempfile.TemporaryDirectory(prefix="inpaintdpo-import-") as folder:
        plan = make_plan(parsed, PictureDesk(source, Path(folder), max_bytes=max_image_bytes), progress)
        rows = len(parsed.rows) + len({problem.row for problem in parsed.problems})
        with database.reading() as session:
            problems, counts = compare_with_stored(session, project_id, plan)
        report = ImportReport(rows, plan.problems + problems, plan.warnings, counts)
        report.problems.sort(key=lambda problem: problem.row)
        if report.problems or dry_run or report.is_repetition:
            return report
        for picture in plan.pictures().values():
            blobs.put_file(picture.path)
        with database.transaction() as session:
            write_plan(session, project_id, plan, report, person)
    return report


def compare_with_stored(session: Session, project_id: int, plan: Plan) -> tuple[list[Problem], Counts]:
    """Where the plan contradicts what the project holds, and how much of it is new."""
    subjects = repository.subjects_by_external_id(session, project_id, plan.subjects)
    conditions = repository.conditions_by_external_id(session, project_id, plan.conditions)
    wanted = {candidate.generator for candidate in plan.candidates}
    generators = repository.generators_by_name(session, project_id, wanted)
    problems = [*_subject_problems(plan, subjects), *_condition_problems(plan, conditions)]
    problems += _generator_problems(plan, generators)
    stored = repository.candidates_of(session, [condition.id for condition in conditions.values()])
    by_key = {(row.condition_id, row.generator_id, row.seed): row.image_digest for row in stored}
    known_candidates = 0
    for candidate in plan.candidates:
        condition, generator = conditions.get(candidate.condition), generators.get(candidate.generator)
        digest = by_key.get((condition.id, generator.id, candidate.seed)) if condition and generator else None
        if digest is None:
            continue
        known_candidates += 1
        if digest != candidate.image.digest:
            text = (
                f"condition “{candidate.condition}” already has a candidate of “{candidate.generator}” with seed "
                f"{candidate.seed}, and another image. Give this one its own seed or generator name."
            )
            problems.append(Problem(candidate.row, text))
    counts = {
        "subjects": _count(len(plan.subjects), len(subjects)),
        "conditions": _count(len(plan.conditions), len(conditions)),
        "generators": _count(len(wanted), len(generators)),
        "candidates": _count(len(plan.candidates), known_candidates),
    }
    return problems, counts


def _count(total: int, known: int) -> dict[str, int]:
    return {"new": total - known, "known": known}


def _subject_problems(plan: Plan, stored: dict[str, Subject]) -> list[Problem]:
    return [
        Problem(
            subject.split_row,
            f"subject “{subject.external_id}” is in {subject.split} here but is stored in {known.split}. "
            "A subject never changes its split: leave the column away, or give the subject another id.",
        )
        for subject in plan.subjects.values()
        if (known := stored.get(subject.external_id)) and subject.split and subject.split != known.split
    ]


def _condition_problems(plan: Plan, stored: dict[str, Condition]) -> list[Problem]:
    problems = []
    for condition in plan.conditions.values():
        known = stored.get(condition.external_id)
        if known is None:
            continue
        differing = [
            label
            for label, one, other in (
                ("subject", known.subject.external_id, condition.subject),
                ("prompt", known.prompt, condition.prompt),
                ("image", known.image_digest, condition.image.digest),
                ("mask", known.mask_digest, condition.mask.digest),
            )
            if one != other
        ]
        if differing:
            text = (
                f"condition “{condition.external_id}” is stored with another {' and '.join(differing)}. "
                "Conditions never change: give this one another name."
            )
            problems.append(Problem(condition.row, text))
    return problems


def _generator_problems(plan: Plan, stored: dict[str, Generator]) -> list[Problem]:
    problems = []
    for candidate in plan.candidates:
        known = stored.get(candidate.generator)
        if known is not None and known.base is not None:
            text = (
                f"generator “{candidate.generator}” makes its candidates here, so that imported ones would pass for "
                "its own. Give the imported ones another generator name."
            )
            problems.append(Problem(candidate.row, text))
    return problems


def write_plan(session: Session, project_id: int, plan: Plan, report: ImportReport, person: Person | None) -> None:
    """Writes what is new of a plan whose images are in the store; the report is brought up to what was written.

    The project's row is locked first, so that of two imports at once the second sees the first.
    """
    project = repository.project_for_update(session, project_id)
    report.problems, report.counts = compare_with_stored(session, project_id, plan)
    if report.problems or report.is_repetition:
        return
    pictures = plan.pictures().values()
    remember_blobs(session, [BlobFact(p.digest, PNG, p.bytes, p.width, p.height) for p in pictures])
    subjects = _write_subjects(session, project, plan)
    conditions = _write_conditions(session, project, plan, subjects)
    _write_candidates(session, project, plan, conditions)
    record = Import(
        project_id=project_id,
        content_hash=plan.content_hash,
        counts=report.counts,
        created_by_id=person.id if person else None,
    )
    session.add(record)
    session.flush()
    report.written, report.import_id, report.content_hash = True, record.id, record.content_hash
    totals = {name: count["new"] for name, count in report.counts.items()}
    audit(session, person, "import.write", "project", project_id, **totals)


def _write_subjects(session: Session, project: Project, plan: Plan) -> dict[str, Subject]:
    rows = [
        {
            "project_id": project.id,
            "external_id": subject.external_id,
            "name": subject.name or subject.external_id,
            "split": subject.split or split_of(subject.external_id),
            "cutout_digest": subject.cutout.digest if subject.cutout else None,
        }
        for subject in plan.subjects.values()
    ]
    repository.insert_missing(session, Subject, rows)
    return repository.subjects_by_external_id(session, project.id, plan.subjects)


def _write_conditions(
    session: Session, project: Project, plan: Plan, subjects: dict[str, Subject]
) -> dict[str, Condition]:
    rows = [
        {
            "project_id": project.id,
            "external_id": condition.external_id,
            "subject_id": subjects[condition.subject].id,
            "split": Split(subjects[condition.subject].split),
            "prompt": condition.prompt,
            "image_digest": condition.image.digest,
            "mask_digest": condition.mask.digest,
            "width": condition.image.width,
            "height": condition.image.height,
            "spec": condition.spec,
        }
        for condition in plan.conditions.values()
    ]
    repository.insert_missing(session, Condition, rows)
    return repository.conditions_by_external_id(session, project.id, plan.conditions)


def _write_candidates(session: Session, project: Project, plan: Plan, conditions: dict[str, Condition]) -> None:
    names = list(dict.fromkeys(candidate.generator for candidate in plan.candidates))
    repository.insert_missing(
        session,
        Generator,
        [
            {"project_id": project.id, "name": name, "base": None, "sampler": {}, "is_frozen": True}
            for name in names or []
        ],
    )
    generators = repository.generators_by_name(session, project.id, names)
    rows = [
        {
            "project_id": project.id,
            "condition_id": conditions[candidate.condition].id,
            "generator_id": generators[candidate.generator].id,
            "seed": candidate.seed,
            "sampler": candidate.sampler,
            "image_digest": candidate.image.digest,
            "width": candidate.image.width,
            "height": candidate.image.height,
        }
        for candidate in plan.candidates
    ]
    repository.insert_missing(session, Candidate, rows)
    repository.freeze_generators(session, [generator.id for generator in generators.values()])
