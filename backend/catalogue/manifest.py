"""The manifest of an import: JSONL or CSV, one candidate or one bare condition a row.

Parsing looks at one row at a time and never stops at the first bad one; what rows say together is checked later.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from backend.catalogue.models import Split
from backend.kit.errors import Invalid

# A row is one short JSON object; a longer line is another file with the wrong name.
MAX_LINE = 1_000_000
MAX_ROWS = 200_000
MAX_NAME = 200
MAX_PROMPT = 4_000
MAX_SEED = 2**63 - 1
COLUMNS = (
    "subject", "subject_name", "split", "cutout", "condition", "image", "mask", "prompt", "spatialworld",
    "generator", "seed", "candidate", "sampler",
)  # fmt: skip
REQUIRED = ("subject", "image", "mask", "prompt")
PATHS = ("image", "mask", "cutout", "candidate")
NAMES = ("subject", "subject_name", "condition", "generator")
DEFAULT_GENERATOR = "imported"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a manifest whose fields are well-formed; `number` is its line in the file, counted from 1."""

    number: int
    subject: str
    image: str
    mask: str
    prompt: str
    subject_name: str | None = None
    split: Split | None = None
    cutout: str | None = None
    condition: str | None = None
    spatialworld: dict[str, Any] | None = None
    generator: str | None = None
    seed: int | None = None
    candidate: str | None = None
    sampler: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a row (with row 0: with the import as a whole) and the way out, in one or two sentences."""

    row: int
    message: str

    def text(self) -> str:
        return f"row {self.row}: {self.message}" if self.row else self.message


@dataclass
class Parsed:
    rows: list[Row] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def parse_manifest(data: bytes, name: str) -> Parsed:
    """Reads a manifest; `name` tells CSV (`.csv`) from JSONL (anything else).

    Raises Invalid where the file as a whole cannot be read: not UTF-8, no header, no rows.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Invalid(f"{name} is not UTF-8 text (byte {error.start}): save it as UTF-8.") from None
    raw = _csv_rows(text, name) if name.lower().endswith(".csv") else _jsonl_rows(text)
    parsed = Parsed()
    for number, fields in raw:
        if len(parsed.rows) + len(parsed.problems) >= MAX_ROWS:
            raise Invalid(f"{name} has more than {MAX_ROWS:,} rows: split it into several imports.")
        if isinstance(fields, str):
            parsed.problems.append(Problem(number, fields))
            continue
        row, problems = _read_row(number, fields)
        parsed.problems.extend(problems)
        if row is not None:
            parsed.rows.append(row)
    if not parsed.rows and not parsed.problems:
        raise Invalid(f"{name} has no rows: write one for each condition or candidate (see docs/import.md).")
    return parsed


def _jsonl_rows(text: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    # Not splitlines(): JSON strings may hold U+2028, which that would take for an end of line.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        if len(line) > MAX_LINE:
            yield number, f"the line is longer than {MAX_LINE:,} characters. Images belong in files, not in here."
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            yield number, f"this is not JSON ({error}). Write one object a line."
            continue
        except RecursionError:
            yield number, "the JSON is nested too deeply. Write one flat object a line."
            continue
        is_object = isinstance(value, dict)
        yield number, value if is_object else "this is not a JSON object. Write {…} with the columns as keys."


def _csv_rows(text: str, name: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield number, f"this is not CSV ({error}). Quote cells that hold commas, quotes or line ends."
            return
        if not any(cell.strip() for cell in cells):
            continue
        if header is None:
            header = [cell.strip() for cell in cells]
            doubled = sorted({column for column in header if header.count(column) > 1})
            if doubled:
                raise Invalid(f"{name}: the header names {', '.join(doubled)} twice.")
            continue
        if len(cells) != len(header):
            yield number, f"it has {len(cells)} cells, the header {len(header)}. Quote cells that hold commas."
            continue
        fields = {column: value for column, cell in zip(header, cells, strict=True) if (value := cell.strip()) != ""}
        yield number, fields


def _read_row(number: int, fields: dict[str, Any]) -> tuple[Row | None, list[Problem]]:
    messages: list[str] = []
    fields = {key: value for key, value in fields.items() if value is not None and value != ""}
    unknown = [key for key in fields if key not in COLUMNS]
    if unknown:
        messages.append(f"unknown column {_quoted(unknown)}. Known are {', '.join(COLUMNS)}.")
    missing = [key for key in REQUIRED if key not in fields]
    if missing:
        messages.append(f"{_quoted(missing)} {'is' if len(missing) == 1 else 'are'} missing.")
    values: dict[str, Any] = {}
    for key in COLUMNS:
        if key not in fields:
            continue
        try:
            values[key] = _READERS[key](key, fields[key])
        except ValueError as error:
            messages.append(str(error))
    if "candidate" not in fields and ("seed" in fields or "generator" in fields):
        messages.append("it names a generator or a seed but no candidate image. Add “candidate” or leave both away.")
    if messages:
        return None, [Problem(number, message) for message in messages]
    return Row(number=number, **values), []


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"“{name}”" for name in names)


def _text(key: str, value: Any, limit: int) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"“{key}” must be text.")
    text = str(value).strip()
    if not text:
        raise ValueError(f"“{key}” is empty.")
    if len(text) > limit:
        raise ValueError(f"“{key}” is longer than {limit:,} characters.")
    if any(ord(character) < 32 and character not in "\n\t" for character in text) or "\x7f" in text:
        raise ValueError(f"“{key}” holds control characters. Remove them.")
    if any(0xD800 <= ord(character) <= 0xDFFF for character in text):
        raise ValueError(f"“{key}” holds half of a surrogate pair. Write the character itself.")
    return text


def _name(key: str, value: Any) -> str:
    return _text(key, value, 120 if key == "generator" else MAX_NAME)


def _prompt(key: str, value: Any) -> str:
    return _text(key, value, MAX_PROMPT)


def _split(key: str, value: Any) -> Split:
    text = _text(key, value, 40).lower()
    if text not in set(Split):
        raise ValueError(f"“split” is “{text}”. Write “train” or “validation”, or leave it away.")
    return Split(text)


def _seed(_key: str, value: Any) -> int:
    try:
        if isinstance(value, bool | float):
            raise ValueError
        seed = int(value)
    except (TypeError, ValueError):
        raise ValueError(f"“seed” is {value!r}. Write a whole number.") from None
    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"“seed” is {seed}. Write a whole number from 0 to {MAX_SEED}.")
    return seed


def _object(key: str, value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise ValueError(f'“{key}” is not JSON. Write an object like {{"steps": 20}}.') from None
    if not isinstance(value, dict):
        raise ValueError(f"“{key}” must be a JSON object.")
    return value


def _path(key: str, value: Any) -> str:
    return safe_path(key, _text(key, value, 1_000))


def safe_path(key: str, text: str) -> str:
    """A relative path that stays inside its folder, with forward slashes; ValueError says what is wrong with others."""
    text = text.replace("\\", "/")
    path = PurePosixPath(text)
    if path.is_absolute() or (len(text) > 1 and text[1] == ":") or "://" in text:
        raise ValueError(f"“{key}” is “{text}”, which is not relative. Write the path from the manifest's folder on.")
    if ".." in path.parts:
        raise ValueError(f"“{key}” is “{text}”, which leaves the manifest's folder. Put the file inside it.")
    if not path.parts:
        raise ValueError(f"“{key}” names no file.")
    return str(path)


_READERS = {
    **dict.fromkeys(NAMES, _name),
    **dict.fromkeys(PATHS, _path),
    "prompt": _prompt,
    "split": _split,
    "seed": _seed,
    "spatialworld": _object,
    "sampler": _object,
}
