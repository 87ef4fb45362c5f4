"""The manifest's parser against anything a file can hold."""

import csv
import io
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.catalogue.manifest import COLUMNS, MAX_SEED, parse_manifest, safe_path
from backend.kit.errors import Invalid
from tests.backend.catalogue import manifests as m

# How fast examples are drawn says nothing of the parser, only of the machine.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
TEXT = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=40).filter(
    lambda text: text.strip() == text
)
NAME = st.text("abcdefghijklmnop-_0123456789", min_size=1, max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
GOOD_ROW = st.fixed_dictionaries(
    {"subject": TEXT, "image": NAME, "mask": NAME, "prompt": TEXT},
    optional={
        "condition": TEXT,
        "split": st.sampled_from(["train", "validation"]),
        "candidate": NAME,
        "spatialworld": st.dictionaries(NAME, st.integers() | NAME, max_size=3),
    },
)


@unhurried
@given(st.lists(GOOD_ROW, min_size=1, max_size=6))
def test_good_rows_come_back_as_they_were_written(rows):
    parsed = parse_manifest(m.jsonl(rows), "manifest.jsonl")
    assert not parsed.problems
    for number, (wanted, row) in enumerate(zip(rows, parsed.rows, strict=True), start=1):
        assert row.number == number
        assert {key: getattr(row, key) for key in wanted} == wanted


@unhurried
@given(st.lists(GOOD_ROW, min_size=1, max_size=6))
def test_csv_says_what_jsonl_says(rows):
    sheet = io.StringIO(newline="")
    writer = csv.DictWriter(sheet, COLUMNS)
    writer.writeheader()
    for row in rows:
        writer.writerow({key: json.dumps(value) if isinstance(value, dict) else value for key, value in row.items()})
    from_csv = parse_manifest(sheet.getvalue().encode(), "manifest.csv")
    from_jsonl = parse_manifest(m.jsonl(rows), "manifest.jsonl")
    assert not from_csv.problems
    for one, other in zip(from_csv.rows, from_jsonl.rows, strict=True):
        assert all(getattr(one, key) == getattr(other, key) for key in COLUMNS)


@unhurried
@given(st.binary(max_size=400), st.sampled_from(["manifest.jsonl", "manifest.csv"]))
def test_any_bytes_are_rows_problems_or_refused_in_words(data, name):
    try:
        parsed = parse_manifest(data, name)
    except Invalid as error:
        assert error.detail.startswith(name)
        return
    assert parsed.rows or parsed.problems
    assert all(problem.row >= 1 and problem.message.endswith(".") for problem in parsed.problems)


@unhurried
@given(st.dictionaries(st.sampled_from([*COLUMNS, "colour"]), JSON, max_size=8))
def test_any_object_is_a_row_or_named_with_a_reason(fields):
    parsed = parse_manifest(m.jsonl([fields]), "manifest.jsonl")
    assert len(parsed.rows) + bool(parsed.problems) == 1
    for row in parsed.rows:
        for path in (row.image, row.mask, row.cutout, row.candidate):
            assert path is None or (not path.startswith("/") and ".." not in path.split("/"))
        assert row.seed is None or 0 <= row.seed <= MAX_SEED


@unhurried
@given(st.text(max_size=30))
def test_a_safe_path_never_leaves_its_folder(text):
    try:
        path = safe_path("image", text)
    except ValueError as error:
        assert "“image”" in str(error)
        return
    assert not path.startswith("/") and ".." not in path.split("/") and "\\" not in path


@pytest.mark.parametrize(
    ("data", "name", "words"),
    [
        (b"\xff\xfe\x00", "manifest.jsonl", "not UTF-8"),
        (b"", "manifest.jsonl", "has no rows"),
        (b"subject,subject\n", "manifest.csv", "names subject twice"),
    ],
)
def test_a_file_that_is_no_manifest_is_refused(data, name, words):
    with pytest.raises(Invalid, match=words):
        parse_manifest(data, name)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"seed": True}, "“seed” is True"),
        ({"seed": 1.5}, "“seed” is 1.5"),
        ({"seed": -1}, "from 0 to"),
        ({"seed": 2**63}, "from 0 to"),
        ({"image": "C:\\cars\\1.png"}, "not relative"),
        ({"image": "..\\1.png"}, "leaves the manifest's folder"),
        ({"image": "s3://bucket/1.png"}, "not relative"),
        ({"prompt": "a\x00b"}, "control characters"),
        ({"prompt": "x" * 5_000}, "longer than 4,000"),
        ({"spatialworld": "[1]"}, "must be a JSON object"),
    ],
)
def test_a_bad_value_is_named(fields, words):
    row = m.row(candidate="c.png") | fields
    [problem] = parse_manifest(m.jsonl([row]), "manifest.jsonl").problems
    assert words in problem.message


def test_a_csv_row_is_counted_by_its_line_even_after_quoted_line_ends():
    text = 'subject,image,mask,prompt\na,i,m,"two\nlines"\nb,i,m\n'
    parsed = parse_manifest(text.encode(), "manifest.csv")
    assert [row.number for row in parsed.rows] == [2]
    assert parsed.problems[0].row == 4 and "3 cells" in parsed.problems[0].message
