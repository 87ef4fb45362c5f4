"""A big project for bench/web.py, written with COPY: people with sessions, conditions, candidates, comparisons, and,
where asked for, judgments with their marks and votes.

Ids follow from their place: condition c has the candidates 5 (c - 1) + 1 … 5 c, one a generator, and the ten pairs of
them are ten comparisons.
"""

import hashlib
import io
import itertools
import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import psycopg
from PIL import Image, ImageDraw

from backend.accounts.tokens import fingerprint
from backend.kit.blobs import BlobStore
from backend.kit.images import encode_png

GENERATORS = 5
PAIRS = tuple(itertools.combinations(range(1, GENERATORS + 1), 2))
SUBJECTS, SCENES = 500, 16
SLUG = "bench"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
TABLES = (
    "people",
    "login_sessions",
    "projects",
    "subjects",
    "conditions",
    "generators",
    "candidates",
    "matchups",
    "comparisons",
    "assignments",
    "judgments",
    "votes",
)


@dataclass
class Seeded:
    """What a load needs to know of the project: one cookie an annotator, and one of an admin."""

    cookies: list[str]
    admin_cookie: str
    comparisons: int
    judgments: int
    image_bytes: dict[str, float] = field(default_factory=dict)


def draw_images(blobs: BlobStore, pixels: int) -> tuple[list[str], list[str], list[str], dict[str, float]]:
    """Digests of scenes, cut-outs and masks in the store, and the mean size of each in bytes."""
    chance = np.random.default_rng(0)
    scenes, cutouts, masks = [], [], []
    sizes: dict[str, list[int]] = {"scene": [], "cutout": [], "mask": []}
    for _ in range(SCENES):
        coarse = Image.fromarray(chance.integers(40, 215, (9, 9, 3), dtype=np.uint8))
        scene = coarse.resize((pixels, pixels), Image.Resampling.BICUBIC)
        left, top = chance.integers(pixels // 8, pixels // 2, 2).tolist()
        box = (left, top, left + pixels // 3, top + pixels // 4)
        cutout = Image.new("RGBA", (pixels, pixels))
        mask = Image.new("L", (pixels, pixels), 255)
        for image, fill in ((scene, (178, 42, 40)), (cutout, (178, 42, 40, 255)), (mask, 0)):
            ImageDraw.Draw(image).rounded_rectangle(box, pixels // 20, fill=fill)
        for kind, image, digests in (
            ("scene", scene, scenes),
            ("cutout", cutout, cutouts),
            ("mask", mask, masks),
        ):
            data = encode_png(image)
            sizes[kind].append(len(data))
            digests.append(blobs.put(data))
    return scenes, cutouts, masks, {kind: float(np.mean(values)) for kind, values in sizes.items()}


def _copy(cursor: psycopg.Cursor[Any], table: str, columns: str, rows: Iterable[tuple[Any, ...]]) -> None:
    """COPY in text form; values are written as they are, None as NULL."""
    with cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
        buffer = io.StringIO()
        for row in rows:
            buffer.write("\t".join("\\N" if value is None else str(value) for value in row))
            buffer.write("\n")
            if buffer.tell() > 1 << 20:
                copy.write(buffer.getvalue())
                buffer = io.StringIO()
        copy.write(buffer.getvalue())


def cookies_of(annotators: int) -> list[str]:
    """The same each time: a database that was kept knows them."""
    return [f"annotator-{number}-{random.Random(number).random()}" for number in range(annotators)]


def seed(
    url: str,
    blobs: BlobStore,
    *,
    comparisons: int,
    annotators: int,
    judgments: int = 0,
    pixels: int = 512,
    settings: dict[str, Any] | None = None,
) -> Seeded:
    """Fills an empty, migrated database; `judgments` of the comparisons are complete already."""
    cookies = cookies_of(annotators)
    scenes, cutouts, masks, sizes = draw_images(blobs, pixels)
    with psycopg.connect(url.replace("+psycopg", "")) as connection, connection.cursor() as cursor:
        # The rows are right by construction; checking a million foreign keys one by one would take minutes.
        cursor.execute("SET session_replication_role = replica")
        people = [*cookies, "admin"]
        _seed_people(cursor, people)
        _seed_catalogue(cursor, comparisons, scenes, cutouts, masks, pixels, settings or {})
        _seed_comparisons(cursor, comparisons, judgments)
        if judgments:
            _seed_judgments(cursor, judgments, annotators)
        for table in TABLES:
            cursor.execute(
                f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT coalesce(max(id), 1) FROM {table}))"
            )
        connection.commit()
        connection.autocommit = True
        cursor.execute("VACUUM ANALYZE")
    return Seeded(cookies, "admin", comparisons, judgments, sizes)


def _seed_people(cursor: psycopg.Cursor[Any], cookies: list[str]) -> None:
    names = "id, email, name, role, is_active, is_simulated, locale, created_at"
    roles = ["annotator"] * (len(cookies) - 1) + ["admin"]
    _copy(
        cursor,
        "people",
        names,
        (
            (n, f"person{n}@example.org", f"Person {n}", role, "t", "f", "en", NOW)
            for n, role in enumerate(roles, start=1)
        ),
    )
    seen = datetime.now(UTC)
    _copy(
        cursor,
        "login_sessions",
        "id, token_hash, person_id, last_seen_at, expires_at, user_agent, created_at",
        (
            (n, fingerprint(cookie), n, seen, seen + timedelta(days=7), "bench", seen)
            for n, cookie in enumerate(cookies, start=1)
        ),
    )
    _copy(
        cursor,
        "project_members",
        "project_id, person_id, created_at",
        ((1, n, NOW) for n in range(1, len(cookies) + 1)),
    )


def _seed_catalogue(
    cursor: psycopg.Cursor[Any],
    comparisons: int,
    scenes: list[str],
    cutouts: list[str],
    masks: list[str],
    pixels: int,
    settings: dict[str, Any],
) -> None:
    conditions = -(-comparisons // len(PAIRS))
    _copy(
        cursor,
        "blobs",
        "digest, media_type, size, created_at",
        ((digest, "image/png", 1, NOW) for digest in sorted({*scenes, *cutouts, *masks})),
    )
    _copy(
        cursor,
        "projects",
        "id, slug, name, guidelines, criteria, settings, is_demo, created_at",
        [(1, SLUG, "Bench", "", '["spatial_rationality"]', json.dumps(settings), "f", NOW)],
    )
    _copy(
        cursor,
        "subjects",
        "id, project_id, external_id, name, split, cutout_digest, created_at",
        ((n, 1, f"s{n}", "red car", "train", cutouts[n % SCENES], NOW) for n in range(1, SUBJECTS + 1)),
    )
    _copy(
        cursor,
        "conditions",
        "id, project_id, external_id, subject_id, split, prompt, image_digest, mask_digest, width, height, created_at",
        (
            (
                *(n, 1, f"c{n}", n % SUBJECTS + 1, "train", "a red car on a wet street"),
                *(scenes[n % SCENES], masks[n % SCENES], pixels, pixels, NOW),
            )
            for n in range(1, conditions + 1)
        ),
    )
    _copy(
        cursor,
        "generators",
        "id, project_id, name, sampler, is_frozen, created_at",
        ((n, 1, f"generator {n}", "{}", "t", NOW) for n in range(1, GENERATORS + 1)),
    )
    _copy(
        cursor,
        "candidates",
        "id, project_id, condition_id, generator_id, seed, sampler, image_digest, width, height, created_at",
        (
            ((n - 1) * GENERATORS + g, 1, n, g, n, "{}", scenes[(n * 7 + g) % SCENES], pixels, pixels, NOW)
            for n in range(1, conditions + 1)
            for g in range(1, GENERATORS + 1)
        ),
    )
    _copy(
        cursor,
        "matchups",
        "id, project_id, criterion, generator_a, generator_b, share, propensity, created_at",
        ((n, 1, "spatial_rationality", a, b, 0.0, 1.0, NOW) for n, (a, b) in enumerate(PAIRS, start=1)),
    )


def _pair(comparison: int) -> tuple[int, int, int]:
    """(condition, candidate, candidate) of a comparison."""
    condition, place = divmod(comparison - 1, len(PAIRS))
    first, second = PAIRS[place]
    return condition + 1, condition * GENERATORS + first, condition * GENERATORS + second


def _seed_comparisons(cursor: psycopg.Cursor[Any], comparisons: int, complete: int) -> None:
    def rows() -> Iterator[tuple[Any, ...]]:
        for n in range(1, comparisons + 1):
            condition, a, b = _pair(n)
            digest = hashlib.sha256(f"{a},{b}".encode()).hexdigest()
            done = n <= complete
            yield (
                *(n, 1, condition, "spatial_rationality", "pairwise", "complete" if done else "open", 1),
                *(0 if done else 1, 1 if done else 0, 0, 1.0, digest, (n - 1) % len(PAIRS) + 1, NOW),
            )

    _copy(
        cursor,
        "comparisons",
        "id, project_id, condition_id, criterion, kind, state, wanted, open_slots, judgments, priority, propensity, "
        "candidates_hash, matchup_id, created_at",
        rows(),
    )
    _copy(
        cursor,
        "comparison_candidates",
        "comparison_id, position, candidate_id",
        ((n, place, candidate) for n in range(1, comparisons + 1) for place, candidate in enumerate(_pair(n)[1:])),
    )


def _seed_judgments(cursor: psycopg.Cursor[Any], judgments: int, annotators: int) -> None:
    """Comparison n was judged by annotator n mod `annotators`; the better generator wins two times in three."""
    numbers = range(1, judgments + 1)

    def person(n: int) -> int:
        return n % annotators + 1

    def said(n: int) -> str:
        return ("a", "b", "a", "tie", "a", "both_bad")[(n * 2654435761 >> 7) % 6]

    def when(n: int) -> datetime:
        return NOW + timedelta(seconds=n * 10)

    _copy(
        cursor,
        "assignments",
        "id, comparison_id, person_id, state, shown_order, lease_expires_at, ended_at, created_at",
        ((n, n, person(n), "submitted", "[0, 1]" if n % 2 else "[1, 0]", NOW, when(n), when(n)) for n in numbers),
    )
    outcomes = {"a": "choice", "b": "choice", "tie": "tie", "both_bad": "both_bad"}
    _copy(
        cursor,
        "judgments",
        "id, assignment_id, comparison_id, project_id, person_id, idempotency_key, revision, outcome, comment, "
        "seconds, is_simulated, created_at, updated_at",
        (
            (n, n, n, 1, person(n), f"seeded-{n}", 1, outcomes[said(n)], "", 3 + n % 9, "f", when(n), when(n))
            for n in numbers
        ),
    )
    marks = {"a": ("win", "lose"), "b": ("lose", "win"), "tie": ("none", "none"), "both_bad": ("lose", "lose")}
    _copy(
        cursor,
        "judgment_marks",
        "judgment_id, candidate_id, mark, shown_position, reasons",
        (
            (n, candidate, mark, place if n % 2 else 1 - place, '["scale"]' if mark == "lose" else "[]")
            for n in numbers
            for place, (candidate, mark) in enumerate(zip(_pair(n)[1:], marks[said(n)], strict=True))
        ),
    )
    _copy(
        cursor,
        "votes",
        "id, judgment_id, project_id, condition_id, criterion, person_id, candidate_a, candidate_b, generator_a, "
        "generator_b, outcome, a_shown_first, is_simulated",
        (
            (
                *(n, n, 1, c, "spatial_rationality", person(n), a, b, *PAIRS[(n - 1) % len(PAIRS)], said(n)),
                *("t" if n % 2 else "f", "f"),
            )
            for n in numbers
            for c, a, b in [_pair(n)]
        ),
    )
    cursor.execute(
        "INSERT INTO standings (project_id, person_id, done, skipped, seconds_each, gold_seen, gold_right, "
        "pause_words, created_at) SELECT 1, person_id, count(*), 0, avg(seconds), 0, 0, '', now() FROM judgments "
        "GROUP BY person_id"
    )
