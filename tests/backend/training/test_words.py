"""What people are told of failures and durations, and how curves are laid out."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.training.charts import CHARTS, Chart, Line, draw, nice_step, number_words, tick_words
from backend.training.schemas import Series
from backend.training.words import FINAL_EXITS, duration_words, exit_name, failure_sentence
from trainer.contract.errors import ExitCode


@pytest.mark.parametrize("code", [code for code in ExitCode if code != ExitCode.FINISHED])
def test_every_way_a_trainer_ends_has_a_way_out(code: ExitCode) -> None:
    sentence = failure_sentence(code, "")
    assert sentence.endswith(".") and any(word in sentence for word in ("esume", "new run", "snapshot"))
    assert failure_sentence(code, "The mask is empty") == f"The mask is empty. {sentence}"
    assert exit_name(code) == f"trainer_{code.name.lower()}"


def test_a_trace_is_not_shown() -> None:
    sentence = failure_sentence(ExitCode.FAILED, "Traceback (most recent call last):\n  File …")
    assert "Traceback" not in sentence and "File" not in sentence


def test_a_killed_trainer_is_tried_again() -> None:
    assert "(signal 9)" in failure_sentence(-9, "") and exit_name(-9) == "trainer_killed"
    assert -9 not in FINAL_EXITS and ExitCode.CANCELLED not in FINAL_EXITS and ExitCode.DIVERGED in FINAL_EXITS


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 s"), (42, "42 s"), (61, "1 min"), (3540, "59 min"), (7500, "2 h 5 min")]
)
def test_durations(seconds: float, words: str) -> None:
    assert duration_words(seconds) == words


@pytest.mark.parametrize(
    ("value", "words"), [(400, "400"), (1e-5, "1e-5"), (-0.12345, "−0.123"), (12345.6, "12,346"), (0.0, "0")]
)
def test_numbers(value: float, words: str) -> None:
    assert number_words(value) == words


VALUES = st.lists(st.floats(-1e6, 1e6).filter(lambda x: x == 0 or abs(x) > 1e-6), min_size=1, max_size=30)


@given(VALUES)
def test_every_point_lies_within_round_bounds(values: list[float]) -> None:
    chart = Chart("x", "X", "", (Line("metrics", "x", "x"),))
    series = Series(name="x", source="metrics", steps=list(range(len(values))), values=values)
    drawing = draw(chart, {"metrics/x": series}, len(values))
    assert drawing is not None and len(drawing.ticks) == 5
    for point in drawing.curves[0].points.split():
        x, y = map(float, point.split(","))
        assert 0 <= x <= 1000 and -0.1 <= y <= 300.1


@given(st.floats(1e-9, 1e9))
def test_steps_are_round_and_close(least: float) -> None:
    step = nice_step(least)
    assert least * (1 - 1e-6) <= step <= least * 2
    assert round(step / 10 ** math.floor(math.log10(step)), 6) in {1, 1.5, 2, 2.5, 3, 4, 5, 7.5, 10}


def test_ticks_are_distinct() -> None:
    assert [tick_words(value, 0.075) for value in (0.0, -0.075, -0.15)] == ["0", "−0.075", "−0.15"]
    assert [tick_words(value, 2.5e-5) for value in (2.5e-5, 5e-5)] == ["2.5e-05", "5e-05"]


def test_charts_have_no_more_curves_than_styles() -> None:
    assert all(len(chart.lines) <= 5 for chart in CHARTS)
