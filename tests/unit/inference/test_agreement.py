"""When outputs count as the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from services.inference.domain.agreement import compare

EXPECTED = np.array([[1.0, -2.0, 3.0], [0.0, 5.0, -4.0]], np.float32)


def floats(*values: float) -> NDArray[np.float32]:
    return np.array([values], np.float32)


def test_equal_outputs_agree() -> None:
    agreement = compare("y", "FP32", EXPECTED, EXPECTED)
    assert (agreement.difference, agreement.relative_error, agreement.top_agreement) == ("", 0.0, 1.0)


@pytest.mark.parametrize(
    ("datatype", "got", "expected", "is_same"),
    [
        ("FP32", floats(1.00009, 10), floats(1, 10), True),
        ("FP32", floats(1, 10.01), floats(1, 10), False),
        ("FP32", floats(0.00009, 10), floats(0, 10), True),
        ("FP32", floats(0.001, 10), floats(0, 10), False),
        ("FP32", floats(2e-7, 1e-7), floats(1e-7, 2e-7), False),
        ("FP32", floats(0, 0), floats(0, 0), True),
        ("FP32", floats(0, 1e-9), floats(0, 0), False),
        ("FP32", floats(np.nan, np.inf), floats(np.nan, np.inf), True),
        ("FP32", floats(np.nan, 1), floats(1, 1), False),
        ("FP32", floats(1, 1), floats(np.nan, 1), False),
        ("FP32", floats(-np.inf, 1), floats(np.inf, 1), False),
        ("FP64", floats(1.00009).astype(np.float64), floats(1).astype(np.float64), False),
        ("FP16", floats(1.005).astype(np.float16), floats(1).astype(np.float16), True),
        ("BF16", np.array([0x3F81], np.uint16), np.array([0x3F80], np.uint16), True),
        ("BF16", np.array([0x3FFF], np.uint16), np.array([0x3F80], np.uint16), False),
        ("INT64", np.array([1, 2]), np.array([1, 2]), True),
        ("INT64", np.array([1, 3]), np.array([1, 2]), False),
        ("BOOL", np.array([True]), np.array([False]), False),
        ("BYTES", np.array([b"a"], object), np.array([b"a"], object), True),
        ("BYTES", np.array([b"a"], object), np.array([b"b"], object), False),
    ],
)
def test_floats_may_differ_in_their_last_digits_and_nothing_else_may(
    datatype: str, got: NDArray[Any], expected: NDArray[Any], is_same: bool
) -> None:
    assert bool(compare("y", datatype, got, expected).difference) is not is_same


@pytest.mark.parametrize("got", [EXPECTED[:1], EXPECTED.astype(np.float64)], ids=["shape", "type"])
def test_another_form_is_a_difference(got: NDArray[Any]) -> None:
    assert "the original" in compare("y", "FP32", got, EXPECTED).difference


def test_rows_with_another_largest_element_are_counted() -> None:
    got = EXPECTED.copy()
    got[1] = got[1, ::-1]
    assert compare("y", "FP32", got, EXPECTED).top_agreement == 1.0
    got[1] = [9, 5, -4]
    assert compare("y", "FP32", got, EXPECTED).top_agreement == 0.5


def test_the_worst_of_several_outputs_counts() -> None:
    good, bad = compare("a", "FP32", EXPECTED, EXPECTED), compare("b", "FP32", -EXPECTED, EXPECTED)
    assert (good & bad).difference.startswith("output 'b'")
    assert (bad & good).relative_error == 2.0
