from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.calls import POISON, Verdict, judge, question

NUMBERS = st.integers(1, 2**32 - 1)


@given(NUMBERS, st.integers(2, 40))
def test_an_answer_that_repeats_the_question_is_right(number: int, width: int) -> None:
    assert judge(number, question(number, width), ()) is Verdict.RIGHT


@given(NUMBERS, NUMBERS, st.integers(2, 40))
def test_the_answer_to_another_question_is_wrong_or_a_duplicate(number: int, other: int, width: int) -> None:
    if number != other:
        assert judge(number, question(other, width), ()) is Verdict.WRONG
        assert judge(number, question(other, width), {other}) is Verdict.DUPLICATE


@given(NUMBERS)
def test_no_request_of_the_load_is_poison(number: int) -> None:
    assert (question(number, 16) > POISON).all()
    assert (question(number, 16) >= 0).all()


@pytest.mark.parametrize(
    "answer",
    [
        np.zeros((1, 16), np.float32),
        np.zeros((0, 16), np.float32),
        np.zeros((16,), np.float32),
        np.full((1, 16), np.nan, np.float32),
        question(7, 16)[:, :1],
        np.concatenate([question(7, 16), question(7, 16)]),
    ],
    ids=["zeros", "no rows", "one dimension", "nan", "cut", "two rows"],
)
def test_what_is_no_such_row_is_wrong(answer: np.ndarray) -> None:
    assert judge(7, answer, ()) is Verdict.WRONG


def test_one_number_of_a_row_changed_is_wrong() -> None:
    answer = question(7, 16)
    answer[0, 11] += 1
    assert judge(7, answer, {7}) is Verdict.WRONG
