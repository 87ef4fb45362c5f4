"""Freezing: from the pairs that the rules choose to the contract's folder."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from backend.catalogue.models import Condition, Project
from backend.datasets import repository
from backend.kit.blobs import BlobStore
from backend.preferences import service as preferences
from backend.preferences.schemas import PairRules, VoteFilter, Who
from backend.preferences.service import PairSet
from trainer.contract.snapshot import ConditionInput, PairInput, Snapshot, WinnerInput, verify_snapshot, write_snapshot

SourceKey = tuple[int, int]


@dataclass(frozen=True)
class Material:
    """All a snapshot is made of, read at one moment; images are known by their digests, `seeds` are those of candidates
    that the trainer sampled."""

    project: str
    chosen: PairSet
    conditions: dict[int, Condition]
    images: dict[int, str]
    seeds: dict[int, int]
    sources: dict[SourceKey, tuple[list[int], int]]

    @property
    def rules(self) -> dict[str, Any]:
        """What enters the content hash beside the rows: the rules with nothing left open."""
        return {"project": self.project, **self.chosen.rules.model_dump(mode="json")}

    @property
    def steps(self) -> int:
        """Rows to be written: conditions, pairs and winners."""
        each = self.chosen.conditions
        return len(each) + sum(len(one.pairs) + len(one.winners) for one in each)


def gather(session: Session, project: Project, rules: PairRules) -> Material:
    """Reads everything a snapshot under `rules` needs; the session should see one moment (`freeze_reading`)."""
    chosen = preferences.preference_pairs(session, project, rules)
    ids = [each.fact.id for each in chosen.conditions]
    candidates = {candidate for each in chosen.conditions for pair in each.pairs for candidate in (pair.win, pair.lose)}
    candidates |= {winner.candidate for each in chosen.conditions for winner in each.winners}
    return Material(
        project.slug,
        chosen,
        repository.conditions(session, ids),
        repository.candidate_images(session, candidates),
        repository.sampled_seeds(session, candidates),
        _sources(session, project, chosen),
    )


def _sources(session: Session, project: Project, chosen: PairSet) -> dict[SourceKey, tuple[list[int], int]]:
    """(smaller, larger candidate id) of each chosen pair to the judgments behind it and how many people gave them."""
    who = Who.ALL if chosen.rules.include_simulated else Who.PEOPLE
    votes = VoteFilter(criterion=chosen.rules.criterion, who=who)
    found: dict[SourceKey, tuple[list[int], int]] = {}
    for start in range(0, len(chosen.conditions), preferences.CHUNK):
        part = chosen.conditions[start : start + preferences.CHUNK]
        wanted = {(min(pair.win, pair.lose), max(pair.win, pair.lose)) for each in part for pair in each.pairs}
        rows: dict[SourceKey, list[tuple[int, int]]] = {}
        for a, b, judgment, person in preferences.pair_sources(
            session, project, votes, part[0].fact.id, part[-1].fact.id
        ):
            if (a, b) in wanted:
                rows.setdefault((a, b), []).append((judgment, person))
        for key, said in rows.items():
            found[key] = (sorted(judgment for judgment, _ in said), len({person for _, person in said}))
    return found


def write_folder(
    material: Material, blobs: BlobStore, folder: Path, *, name: str, on_row: Callable[[], None]
) -> Snapshot:
    """Writes and verifies the contract's folder; `on_row` is called once a row. Raises SnapshotError."""
    write_snapshot(
        folder,
        name=name,
        rules=material.rules,
        conditions=_each(_condition_inputs(material, blobs), on_row),
        pairs=_each(_pair_inputs(material, blobs), on_row),
        winners=_each(_winner_inputs(material, blobs), on_row),
    )
    return verify_snapshot(folder)


def _each(rows: Iterator[Any], on_row: Callable[[], None]) -> Iterator[Any]:
    for row in rows:
        on_row()
        yield row


def _condition_inputs(material: Material, blobs: BlobStore) -> Iterator[ConditionInput]:
    for each in material.chosen.conditions:
        row = material.conditions[each.fact.id]
        yield ConditionInput(
            condition_id=row.external_id,
            subject_id=row.subject.external_id,
            split="validation" if row.split == "validation" else "train",
            prompt=row.prompt,
            image=blobs.read(row.image_digest),
            mask=blobs.read(row.mask_digest),
            spec=row.spec,
        )


def _pair_inputs(material: Material, blobs: BlobStore) -> Iterator[PairInput]:
    for each in material.chosen.conditions:
        condition = material.conditions[each.fact.id].external_id
        for pair in each.pairs:
            judgments, annotators = material.sources[min(pair.win, pair.lose), max(pair.win, pair.lose)]
            yield PairInput(
                pair_id=f"{condition}:{pair.win}>{pair.lose}",
                condition_id=condition,
                win=blobs.read(material.images[pair.win]),
                lose=blobs.read(material.images[pair.lose]),
                win_candidate=str(pair.win),
                lose_candidate=str(pair.lose),
                p_win=pair.p_win,
                reasons=each.reasons.get(pair.lose, ()),
                judgments=tuple(str(judgment) for judgment in judgments),
                annotators=annotators,
                win_seed=material.seeds.get(pair.win),
                lose_seed=material.seeds.get(pair.lose),
            )


def _winner_inputs(material: Material, blobs: BlobStore) -> Iterator[WinnerInput]:
    for each in material.chosen.conditions:
        condition = material.conditions[each.fact.id].external_id
        for winner in each.winners:
            yield WinnerInput(
                condition_id=condition,
                image=blobs.read(material.images[winner.candidate]),
                candidate=str(winner.candidate),
                p_win=winner.p_win,
            )


def counts_of(material: Material, snapshot: Snapshot) -> dict[str, Any]:
    """The manifest's counts and where they come from: judgments, annotators, reasons, groups of winners."""
    reasons: Counter[str] = Counter()
    for pair in snapshot.pairs:
        reasons.update(pair.reasons)
    groups = Counter(winner.condition_id for winner in snapshot.winners)
    return {
        **snapshot.manifest.counts,
        "judgments": len({judgment for judgments, _ in material.sources.values() for judgment in judgments}),
        "votes": material.chosen.votes,
        "winner_groups": sum(number > 1 for number in groups.values()),
        "reasons": dict(reasons.most_common()),
    }
