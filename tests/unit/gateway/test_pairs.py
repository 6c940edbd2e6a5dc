"""Which answers of two versions count as the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tritonclient.grpc import service_pb2 as pb

from services.common.datatypes import DATATYPES, join_bytes
from services.gateway.domain.pairs import are_alike
from tests.unit.gateway.requests import infer_response

FLOATS = {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}
EXACT = {name: kind.dtype for name, kind in DATATYPES.items() if kind.itemsize and not kind.is_float}


def response(*tensors: tuple[str, str, Any], shape: tuple[int, ...] = ()) -> Any:
    said = [(name, datatype, raw, list(shape) or [len(raw)]) for name, datatype, raw in tensors]
    return pb.ModelInferResponse.FromString(infer_response(*said))


def alike(datatype: str, one: Any, two: Any, tolerance: float = 0.0) -> bool:
    """Whether two contents of one output count as the same."""
    return are_alike(response(("Y", datatype, one)), response(("Y", datatype, two)), tolerance=tolerance)


@pytest.mark.parametrize("datatype", FLOATS)
@given(data=st.data())
def test_an_answer_is_like_itself_whatever_it_holds(datatype: str, data: st.DataObject) -> None:
    values = data.draw(hnp.arrays(FLOATS[datatype], st.integers(0, 20)))
    assert alike(datatype, values, values.copy())


@given(st.binary(max_size=40).filter(lambda raw: len(raw) % 2 == 0))
def test_bf16_is_like_itself_whatever_it_holds(raw: bytes) -> None:
    assert alike("BF16", raw, bytes(raw))


@given(
    hnp.arrays("<f4", st.integers(1, 20), elements=st.floats(-1e6, 1e6, width=32)),
    st.floats(1e-6, 0.5),
    st.floats(-1.0, 1.0),
    st.integers(0, 19),
)
def test_numbers_may_differ_by_a_part_of_the_largest(
    values: np.ndarray[Any, Any], tolerance: float, part: float, at: int
) -> None:
    largest = float(np.abs(values.astype("f8")).max())
    other = values.astype("<f8")
    ours = values.astype("<f8")
    other[at % len(other)] += 0.999 * part * tolerance * largest
    assert alike("FP64", ours, other, tolerance)
    other = ours.copy()
    other[at % len(other)] += 1.001 * tolerance * largest + 1e-6
    assert not alike("FP64", ours, other, tolerance)


@pytest.mark.parametrize("datatype", EXACT)
@given(data=st.data())
def test_whole_numbers_and_truths_have_to_be_the_same(datatype: str, data: st.DataObject) -> None:
    values = data.draw(hnp.arrays(EXACT[datatype], st.integers(1, 10)))
    others = data.draw(hnp.arrays(EXACT[datatype], len(values)))
    assert alike(datatype, values, others, 0.5) is bool((values == others).all())


@given(st.lists(st.binary(max_size=5), min_size=1, max_size=4), st.lists(st.binary(max_size=5), min_size=1, max_size=4))
def test_strings_have_to_be_the_same(ours: list[bytes], theirs: list[bytes]) -> None:
    one, two = (response(("Y", "BYTES", join_bytes(texts)), shape=(len(texts),)) for texts in (ours, theirs))
    assert are_alike(one, two, tolerance=0.5) is (ours == theirs)


@pytest.mark.parametrize(
    ("ours", "theirs", "is_alike"),
    [
        ([np.nan, 1.0], [np.nan, 1.0], True),
        ([np.nan, 1.0], [1.0, 1.0], False),
        ([1.0, 1.0], [np.nan, 1.0], False),
        ([np.inf, 1.0], [np.inf, 1.05], True),
        ([np.inf, 1.0], [np.inf, 1.2], False),
        ([np.inf, 1.0], [-np.inf, 1.0], False),
        ([np.inf, 1.0], [3e38, 1.0], False),
        ([3e38, 1.0], [np.inf, 1.0], False),
        ([np.nan, np.inf], [np.nan, np.inf], True),
        ([0.0, 0.0], [-0.0, 0.0], True),
        ([0.0, 0.0], [1e-30, 0.0], False),
        ([1e-3, 100.0], [5.0, 100.0], True),
        ([100.0, 100.0], [100.0, 100.0 + 10.1], False),
    ],
)
def test_odd_numbers(ours: list[float], theirs: list[float], is_alike: bool) -> None:
    assert alike("FP32", np.array(ours, "<f4"), np.array(theirs, "<f4"), 0.1) is is_alike


def test_numbers_too_large_to_subtract_differ() -> None:
    assert not alike("FP64", np.array([1.7e308]), np.array([-1.7e308]), 0.1)


def test_bf16_counts_as_the_numbers_that_it_stands_for() -> None:
    one = np.array([0x3F80, 0x4000], "<u2")  # 1 and 2
    two = np.array([0x3F81, 0x4000], "<u2")  # 1.0078
    assert alike("BF16", one, two, 0.01)
    assert not alike("BF16", one, two, 0.001)


def test_the_candidate_may_give_more_and_in_another_order() -> None:
    x, y = np.ones(2, "<f4"), np.zeros(2, "<f4")
    ours = response(("X", "FP32", x), ("Y", "FP32", y))
    assert are_alike(ours, response(("Z", "FP32", y), ("Y", "FP32", y), ("X", "FP32", x)), tolerance=0)
    assert not are_alike(ours, response(("X", "FP32", x)), tolerance=0)
    assert not are_alike(ours, response(("X", "FP32", y), ("Y", "FP32", x)), tolerance=0)


def test_shapes_and_datatypes_have_to_be_the_same() -> None:
    raw = bytes(16)
    ours = response(("Y", "FP32", raw), shape=(2, 2))
    assert not are_alike(ours, response(("Y", "FP32", raw), shape=(4, 1)), tolerance=1)
    assert not are_alike(ours, response(("Y", "INT32", raw), shape=(2, 2)), tolerance=1)
    assert not are_alike(ours, response(("Y", "FP32", bytes(15)), shape=(2, 2)), tolerance=1)
