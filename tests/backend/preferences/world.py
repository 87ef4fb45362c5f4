"""A small judged project written straight into the tables, for tests of what is computed from judgments."""

import hashlib
import io
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count

import numpy as np
from PIL import Image
from sqlalchemy.orm import Session

from backend.accounts.models import Person, Role
from backend.catalogue.models import Candidate, Condition, Generator, Project, Split, Subject, Verdict
from backend.judging.models import (
    Assignment,
    AssignmentState,
    Comparison,
    ComparisonCandidate,
    ComparisonKind,
    Judgment,
    JudgmentMark,
    Mark,
    Outcome,
    Vote,
    VoteOutcome,
)
from backend.kit.blobs import BlobStore
from backend.kit.models import Blob

SIZE = 16
START = datetime(2026, 1, 1, tzinfo=UTC)


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@dataclass
class World:
    """A project being filled; everything is flushed, nothing committed."""

    session: Session
    blobs: BlobStore
    project: Project
    generators: list[Generator] = field(default_factory=list)
    people: list[Person] = field(default_factory=list)
    conditions: list[Condition] = field(default_factory=list)
    candidates: dict[tuple[int, int], Candidate] = field(default_factory=dict)
    serial: count = field(default_factory=lambda: count(1))

    def add(self, row: object) -> None:
        self.session.add(row)
        self.session.flush()

    def blob(self, data: bytes) -> str:
        digest = self.blobs.put(data)
        if self.session.get(Blob, digest) is None:
            self.add(Blob(digest=digest, media_type="image/png", size=len(data), width=SIZE, height=SIZE))
        return digest

    def condition(self, split: Split, subject: Subject | None = None) -> Condition:
        number = next(self.serial)
        rng = np.random.default_rng(number)
        if subject is None:
            subject = Subject(project_id=self.project.id, external_id=f"subject-{number}", name="a boat", split=split)
            self.add(subject)
        mask = np.full((SIZE, SIZE), 255, np.uint8)
        mask[4:8, 4:8] = 0
        condition = Condition(
            project_id=self.project.id,
            external_id=f"condition-{number}",
            subject_id=subject.id,
            split=split,
            prompt=f"a boat on a lake, {number}",
            image_digest=self.blob(png(rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8))),
            mask_digest=self.blob(png(mask)),
            width=SIZE,
            height=SIZE,
            spec={"horizon": number},
        )
        self.add(condition)
        self.conditions.append(condition)
        return condition

    def candidate(
        self, condition: Condition, generator: Generator, seed: int, *, image_seed: int | None = None
    ) -> Candidate:
        rng = np.random.default_rng(10_000 + (next(self.serial) if image_seed is None else image_seed))
        candidate = Candidate(
            project_id=self.project.id,
            condition_id=condition.id,
            generator_id=generator.id,
            seed=seed,
            image_digest=self.blob(png(rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8))),
            width=SIZE,
            height=SIZE,
        )
        self.add(candidate)
        return candidate

    def verdict(self, candidate: Candidate, rational: bool | None) -> None:
        self.session.add(Verdict(candidate_id=candidate.id, judge="spatialworld", rational=rational, reasons=[]))

    def comparison(self, candidates: list[Candidate], kind: ComparisonKind, criterion: str) -> Comparison:
        ids = sorted(candidate.id for candidate in candidates)
        comparison = Comparison(
            project_id=self.project.id,
            condition_id=candidates[0].condition_id,
            criterion=criterion,
            kind=kind,
            wanted=100,
            open_slots=100,
            candidates_hash=hashlib.sha256(f"{kind}{ids}{next(self.serial)}".encode()).hexdigest(),
        )
        self.add(comparison)
        for position, identifier in enumerate(ids):
            self.session.add(
                ComparisonCandidate(comparison_id=comparison.id, position=position, candidate_id=identifier)
            )
        return comparison

    def judge(
        self,
        comparison: Comparison,
        person: Person,
        shown: list[Candidate],
        marks: str,
        *,
        outcome: Outcome = Outcome.MARKS,
        reasons: dict[int, list[str]] | None = None,
        seconds: float = 4.0,
    ) -> Judgment:
        """One judgment; `marks` has one letter a shown candidate (w, l or -), `reasons` go by shown position."""
        number = next(self.serial)
        moment = START + timedelta(minutes=number)
        assignment = Assignment(
            comparison_id=comparison.id,
            person_id=person.id,
            state=AssignmentState.SUBMITTED,
            shown_order=list(range(len(shown))),
            lease_expires_at=moment,
        )
        self.add(assignment)
        judgment = Judgment(
            assignment_id=assignment.id,
            comparison_id=comparison.id,
            project_id=self.project.id,
            person_id=person.id,
            idempotency_key=f"key-{number}",
            outcome=outcome,
            skip_reason="cannot_tell" if outcome is Outcome.SKIP else None,
            seconds=seconds,
            is_simulated=person.is_simulated,
            created_at=moment,
            updated_at=moment,
        )
        self.add(judgment)
        letters = {"w": Mark.WIN, "l": Mark.LOSE, "-": Mark.NONE}
        for position, (candidate, letter) in enumerate(zip(shown, marks, strict=True)):
            self.session.add(
                JudgmentMark(
                    judgment_id=judgment.id,
                    candidate_id=candidate.id,
                    mark=letters[letter],
                    shown_position=position,
                    reasons=(reasons or {}).get(position, []),
                )
            )
        self._votes(comparison, judgment, shown, marks, outcome)
        return judgment

    def _votes(
        self, comparison: Comparison, judgment: Judgment, shown: list[Candidate], marks: str, outcome: Outcome
    ) -> None:
        if outcome is Outcome.SKIP:
            return
        if outcome in (Outcome.TIE, Outcome.BOTH_BAD):
            self._vote(comparison, judgment, shown[0], shown[1], VoteOutcome(outcome.value), True)
            return
        for i, win in enumerate(shown):
            for j, lose in enumerate(shown):
                if marks[i] == "w" and marks[j] == "l":
                    self._vote(comparison, judgment, win, lose, VoteOutcome.A, i < j)

    def _vote(
        self,
        comparison: Comparison,
        judgment: Judgment,
        first: Candidate,
        second: Candidate,
        outcome: VoteOutcome,
        first_left: bool,
    ) -> None:
        if first.id > second.id:
            first, second, first_left = second, first, not first_left
            outcome = VoteOutcome.B if outcome is VoteOutcome.A else outcome
        self.session.add(
            Vote(
                judgment_id=judgment.id,
                project_id=self.project.id,
                condition_id=comparison.condition_id,
                criterion=comparison.criterion,
                person_id=judgment.person_id,
                candidate_a=first.id,
                candidate_b=second.id,
                generator_a=first.generator_id,
                generator_b=second.generator_id,
                outcome=outcome,
                a_shown_first=first_left,
                is_simulated=judgment.is_simulated,
            )
        )


def new_world(
    session: Session, blobs: BlobStore, *, slug: str = "lakes", demo: bool = False, generators: int = 2, people: int = 4
) -> World:
    """A project with generators, people (the last one simulated) and nothing to judge yet."""
    project = Project(slug=slug, name="Lakes", is_demo=demo)
    world = World(session, blobs, project)
    world.add(project)
    for number in range(generators):
        generator = Generator(project_id=project.id, name=f"model {number}", base="spatialworld")
        world.add(generator)
        world.generators.append(generator)
    for number in range(people):
        simulated = number == people - 1
        person = Person(
            email=f"{slug}-{number}@example.org", name=f"Person {number}", role=Role.ANNOTATOR, is_simulated=simulated
        )
        world.add(person)
        world.people.append(person)
    return world


def judged_world(
    session: Session, blobs: BlobStore, *, train: int = 4, validation: int = 2, demo: bool = False
) -> World:
    """Each condition has two good and two bad candidates; two people agree on them, the simulated one too."""
    world = new_world(session, blobs, demo=demo)
    for number in range(train + validation):
        split = Split.TRAIN if number < train else Split.VALIDATION
        condition = world.condition(split)
        # Model 1 makes three good ones of four, model 0 one.
        shown = [world.candidate(condition, world.generators[(seed + number) % 2], seed) for seed in range(4)]
        good = [candidate.generator_id == world.generators[1].id for candidate in shown]
        if number % 3 == 2:
            good[0] = not good[0]
        for candidate, rational in zip(shown, good, strict=True):
            world.verdict(candidate, rational)
        marks = "".join("w" if rational else "l" for rational in good)
        comparison = world.comparison(shown, ComparisonKind.WIN_LOSE, "spatial_rationality")
        losers = [place for place, letter in enumerate(marks) if letter == "l"]
        for person in (world.people[0], world.people[1], world.people[-1]):
            reasons = {place: ["scale"] if person is world.people[0] else ["scale", "viewpoint"] for place in losers}
            world.judge(comparison, person, shown, marks, reasons=reasons)
    return world
