"""What an import would bring: every row checked against its files and against the other rows, nothing written."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from backend.catalogue.manifest import DEFAULT_GENERATOR, Parsed, Problem, Row
from backend.catalogue.models import Split
from backend.catalogue.pictures import BadPicture, Picture, PictureDesk, polarity_hint
from trainer.contract.images import paste_foreground
from trainer.contract.sampling import SamplerSettings

VALIDATION_SHARE = 0.2
# A candidate whose subject differs more than this (mean of 255) was not made by inpainting around it.
DRIFT_WORTH_SAYING = 25.0
Progress = Callable[[int, int], None]


@dataclass(slots=True)
class SubjectPlan:
    external_id: str
    row: int
    name: str = ""
    split: Split | None = None
    split_row: int = 0
    cutout: Picture | None = None


@dataclass(frozen=True, slots=True)
class ConditionPlan:
    external_id: str
    row: int
    subject: str
    prompt: str
    image: Picture
    mask: Picture
    spec: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class CandidatePlan:
    row: int
    condition: str
    generator: str
    seed: int
    sampler: dict[str, Any]
    image: Picture


@dataclass
class Plan:
    """All that a manifest brings, in its order; `problems` forbid writing it, `warnings` do not."""

    rows: int = 0
    subjects: dict[str, SubjectPlan] = field(default_factory=dict)
    conditions: dict[str, ConditionPlan] = field(default_factory=dict)
    candidates: list[CandidatePlan] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)

    @property
    def content_hash(self) -> str:
        """SHA-256 over everything that would be stored; the same for the same import from a folder, zip or bucket."""
        lines = [
            *(["subject", s.external_id, s.name, s.split] for s in self.subjects.values()),
            *(
                ["condition", c.external_id, c.subject, c.prompt, c.image.digest, c.mask.digest, c.spec]
                for c in self.conditions.values()
            ),
            *(["candidate", c.condition, c.generator, c.seed, c.image.digest] for c in self.candidates),
        ]
        return hashlib.sha256(json.dumps(lines, sort_keys=True).encode()).hexdigest()

    def pictures(self) -> dict[str, Picture]:
        found = [subject.cutout for subject in self.subjects.values() if subject.cutout]
        for condition in self.conditions.values():
            found += [condition.image, condition.mask]
        found += [candidate.image for candidate in self.candidates]
        return {picture.digest: picture for picture in found}


def split_of(subject: str) -> Split:
    """The split of a subject whose manifest names none: about a fifth go to validation, for ever the same ones."""
    share = int.from_bytes(hashlib.sha256(subject.encode()).digest()[:8], "big") / 2**64
    return Split.VALIDATION if share < VALIDATION_SHARE else Split.TRAIN


def make_plan(parsed: Parsed, desk: PictureDesk, progress: Progress | None = None) -> Plan:
    """Checks every row, collecting all problems; a bad row never hides those after it."""
    planner = _Planner(desk)
    plan = planner.plan
    plan.problems.extend(parsed.problems)
    for done, row in enumerate(parsed.rows, start=1):
        try:
            planner.add(row)
        except BadPicture as error:
            plan.problems.append(Problem(row.number, str(error)))
        if progress:
            progress(done, len(parsed.rows))
    plan.rows = len(parsed.rows)
    plan.problems.sort(key=lambda problem: problem.row)
    return plan


class _Planner:
    def __init__(self, desk: PictureDesk) -> None:
        self.desk = desk
        self.plan = Plan()
        self.hinted: set[str] = set()
        self.candidate_rows: dict[tuple[str, str, int], CandidatePlan] = {}
        self.candidate_images: dict[tuple[str, str], int] = {}

    def add(self, row: Row) -> None:
        image, mask = self.desk.canvas("image", row.image), self.desk.mask(row.mask)
        if (image.width, image.height) != (mask.width, mask.height):
            raise BadPicture(
                f"mask “{row.mask}” is {mask.width}x{mask.height} but image “{row.image}” is "
                f"{image.width}x{image.height}. Redraw the mask at the image's size."
            )
        self._hint(row, mask)
        cutout = self.desk.cutout(row.cutout) if row.cutout else None
        name = row.condition or _derived_name(row, image, mask)
        condition = self._condition(row, name, image, mask)
        candidate = self._candidate(row, condition) if row.candidate else None
        self._subject(row, cutout)
        self.plan.conditions.setdefault(name, condition)
        if candidate is not None:
            self.plan.candidates.append(candidate)

    def _hint(self, row: Row, mask: Picture) -> None:
        if mask.digest in self.hinted:
            return
        self.hinted.add(mask.digest)
        hint = polarity_hint(self.desk.pixels(mask))
        if hint:
            text = f"mask “{row.mask}” may be inverted: {hint}. Here 255 is the background and 0 the subject."
            self.plan.warnings.append(Problem(row.number, text))

    def _subject(self, row: Row, cutout: Picture | None) -> None:
        subject = self.plan.subjects.setdefault(row.subject, SubjectPlan(row.subject, row.number))
        if row.split is not None and subject.split is not None and subject.split is not row.split:
            raise BadPicture(
                f"subject “{row.subject}” is in {row.split} here but in {subject.split} in row {subject.split_row}. "
                "A subject belongs to one split: correct one of them."
            )
        if row.split is not None and subject.split is None:
            subject.split, subject.split_row = row.split, row.number
        subject.cutout = subject.cutout or cutout
        subject.name = subject.name or row.subject_name or ""

    def _condition(self, row: Row, name: str, image: Picture, mask: Picture) -> ConditionPlan:
        made = ConditionPlan(name, row.number, row.subject, row.prompt, image, mask, row.spatialworld)
        known = self.plan.conditions.get(name)
        if known is None:
            return made
        differing = [
            label
            for label, one, other in (
                ("subject", known.subject, made.subject),
                ("prompt", known.prompt, made.prompt),
                ("image", known.image.digest, image.digest),
                ("mask", known.mask.digest, mask.digest),
                ("spatialworld", known.spec or made.spec, made.spec or known.spec),
            )
            if one != other
        ]
        if differing:
            raise BadPicture(
                f"condition “{name}” has another {' and '.join(differing)} than in row {known.row}. "
                "Give it the same, or another condition name."
            )
        if row.candidate is None:
            raise BadPicture(
                f"it repeats row {known.row}: the same condition, without a candidate. Remove one of them."
            )
        return known

    def _candidate(self, row: Row, condition: ConditionPlan) -> CandidatePlan:
        assert row.candidate is not None
        picture = self.desk.canvas("candidate", row.candidate)
        image = condition.image
        if (picture.width, picture.height) != (image.width, image.height):
            raise BadPicture(
                f"candidate “{row.candidate}” is {picture.width}x{picture.height} but its condition's image is "
                f"{image.width}x{image.height}. Make it at the condition's size."
            )
        if row.sampler is not None:
            _check_sampler(row.sampler)
        picture = self._with_true_foreground(row, condition, picture)
        # Without a seed the content stands for it, so that a second import finds the same candidate again.
        seed = row.seed if row.seed is not None else int(picture.digest[:13], 16)
        made = CandidatePlan(
            row.number, condition.external_id, row.generator or DEFAULT_GENERATOR, seed, row.sampler or {}, picture
        )
        self._check_repetition(made, row.seed is not None)
        return made

    def _check_repetition(self, made: CandidatePlan, has_seed: bool) -> None:
        key = (made.condition, made.generator, made.seed)
        known = self.candidate_rows.setdefault(key, made)
        if known is not made:
            if known.image.digest == made.image.digest:
                raise BadPicture(f"it repeats row {known.row}: the same candidate. Remove one of them.")
            raise BadPicture(
                f"condition “{made.condition}” already has a candidate of “{made.generator}” with seed {made.seed} in "
                f"row {known.row}, and another image. Give it its own seed."
            )
        first = self.candidate_images.setdefault((made.condition, made.image.digest), made.row)
        if first != made.row and has_seed:
            text = f"the candidate is pixel for pixel that of row {first}; judging one against the other says nothing."
            self.plan.warnings.append(Problem(made.row, text))

    def _with_true_foreground(self, row: Row, condition: ConditionPlan, picture: Picture) -> Picture:
        true, mask = self.desk.pixels(condition.image), self.desk.pixels(condition.mask)
        pixels = self.desk.pixels(picture)
        subject = mask == 0
        drift = float(np.abs(pixels[subject].astype(np.int16) - true[subject]).mean())
        if drift == 0:
            return picture
        if drift > DRIFT_WORTH_SAYING:
            text = (
                f"candidate “{row.candidate}” shows another subject than the image (they differ by {drift:.0f} of 255 "
                "on average). The true subject is pasted over it: look at the edge, or leave the candidate out."
            )
            self.plan.warnings.append(Problem(row.number, text))
        return self.desk.stage(Image.fromarray(paste_foreground(pixels, true, mask)))


def _derived_name(row: Row, image: Picture, mask: Picture) -> str:
    content = "\x1f".join((row.subject, image.digest, mask.digest, row.prompt))
    return f"auto-{hashlib.sha256(content.encode()).hexdigest()[:24]}"


def _check_sampler(sampler: dict[str, Any]) -> None:
    """Refuses what would be read wrongly later: known settings must have their own types; others are kept as told."""
    known = {key: value for key, value in sampler.items() if key in SamplerSettings.model_fields}
    try:
        SamplerSettings.model_validate(known)
    except ValueError:
        fields = ", ".join(SamplerSettings.model_fields)
        raise BadPicture(f"“sampler” has an unusable value. {fields} must be numbers above 0.") from None
