"""What is told of answers and of inputs."""

from __future__ import annotations

import numpy as np
import pytest

from services.inference.domain.signature import Signature, TensorSpec
from services.inference.model_process.encoder import Column
from services.inference.model_process.input_sketch import FEATURES, MOST_PER_SECOND, PROJECTIONS, InputSketcher
from services.inference.model_process.statistics import Statistics, answers_of, statistics_of
from services.inference.model_process.tensors import Form, Tensors

NS = 1_000_000_000


def column(array: np.ndarray) -> Column:
    return Column(array, array.tobytes(), array.shape[1:], array[:1].nbytes)


def told(*outputs: np.ndarray, rows: list[int]) -> Statistics:
    columns = {str(number): column(array) for number, array in enumerate(outputs)}
    return statistics_of([(answers_of(columns, rows, is_batchable=True), len(rows))])


@pytest.mark.parametrize(
    ("scores", "rows", "classes"),
    [
        ([[0.1, 0.9], [0.8, 0.2]], [1, 1], [1, 0]),
        ([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]], [2, 1], [1, 1]),
        ([[0.1, 0.9], [0.8, 0.9], [0.8, 0.9]], [1, 1, 1], [-1, -1, -1]),
        ([[2.0, -1.0]], [1], [-1]),
        ([[np.inf, -np.inf]], [1], [-1]),
        ([[1.0]], [1], [-1]),
        ([[0.2, 0.8], [0.5, 0.5], [np.nan, 0.5]], [1, 1, 1], [1, 0, -1]),
    ],
)
def test_a_classifier_is_known_by_rows_that_sum_to_one(
    scores: list[list[float]], rows: list[int], classes: list[int]
) -> None:
    statistics = told(np.array(scores, np.float32), rows=rows)
    assert statistics.top_class.tolist() == classes
    assert np.isnan(statistics.confidence).tolist() == [number < 0 for number in classes]
    assert np.isnan(statistics.entropy).tolist() == [number < 0 for number in classes]


@pytest.mark.parametrize("array", [np.array([[[0.5, 0.5]]], np.float32), np.array([1.0], np.float32)])
def test_only_rows_of_numbers_are_classes(array: np.ndarray) -> None:
    assert not told(array, rows=[1]).is_classifiers


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_confidence_and_entropy_are_those_of_each_requests_first_row(dtype: type) -> None:
    scores = np.array([[0.25, 0.75], [1.0, 0.0], [0.5, 0.5]], dtype)
    statistics = told(scores, rows=[2, 1])
    assert statistics.confidence.tolist() == [0.75, 0.5]
    assert statistics.entropy == pytest.approx([-0.25 * np.log(0.25) - 0.75 * np.log(0.75), np.log(2)], rel=1e-3)


def test_norms_are_over_all_rows_of_a_request() -> None:
    values = np.array([[3.0, 3.0], [5.0, 5.0], [2.0, 2.0]], np.float32)
    assert told(values, rows=[2, 1]).norm == pytest.approx([np.sqrt(17), 2.0])


def test_what_is_no_number_is_counted_in_all_outputs_by_request() -> None:
    first = np.array([[1.0, np.nan], [1.0, 2.0], [np.inf, -np.inf]], np.float64)
    second = np.array([[1.0], [np.nan], [1.0]], np.float32)
    assert told(first, second, rows=[1, 2]).nonfinite.tolist() == [1, 3]
    assert told(first[1:2], second[:1], rows=[1]).nonfinite.tolist() == [0]


def test_sums_that_overflow_are_numbers_all_the_same() -> None:
    large = np.full((2, 3), 3e38, np.float32)
    assert told(large, large, rows=[1, 1]).nonfinite.tolist() == [0, 0]


def test_large_answers_are_looked_at_at_once() -> None:
    """They are views of what belongs to the model, which may change it."""
    array = np.ones((2, 20_000), np.float32)
    columns = {"y": Column(array, array.reshape(-1).view(np.uint8).data, (20_000,), 80_000)}
    answers = answers_of(columns, [1, 1], is_batchable=True)
    array[:] = np.nan
    assert isinstance(answers, Statistics)
    assert (answers.norm.tolist(), answers.nonfinite.tolist()) == ([1, 1], [0, 0])


def test_batches_of_different_layouts_keep_their_order() -> None:
    wide, narrow = np.full((1, 3), 2.0, np.float32), np.full((2, 1), 5.0, np.float32)
    batches = [
        (answers_of({"y": column(wide)}, [1], is_batchable=True), 1),
        (None, 2),
        (answers_of({"y": column(narrow)}, [1, 1], is_batchable=True), 2),
    ]
    norms = statistics_of(batches).norm
    assert (len(norms), norms[0], np.isnan(norms[1:3]).all(), norms[3:].tolist()) == (5, 2.0, True, [5.0, 5.0])


def test_answers_without_rows_are_one_requests() -> None:
    matrix = np.array([[0.25, 0.75], [0.5, 0.5]], np.float32)
    whole = Column(matrix, matrix.tobytes(), matrix.shape, matrix.nbytes)
    statistics = statistics_of([(answers_of({"y": whole}, [1], is_batchable=False), 1)])
    assert (statistics.confidence.tolist(), len(statistics)) == ([0.75], 1)


def signature(*inputs: TensorSpec) -> Signature:
    return Signature(inputs, (), is_batchable=True)


def tensors(*arrays: np.ndarray) -> Tensors:
    names = tuple(f"x{number}" for number in range(len(arrays)))
    form = Form(names, tuple(one.dtype for one in arrays), tuple(one.shape for one in arrays), (), len(arrays[0]), None)
    return Tensors("", form, (), [one.tobytes() for one in arrays])


def test_features_of_small_tables_are_given_as_they_are() -> None:
    sketcher = InputSketcher(signature(TensorSpec("x0", "FP32", (-1, 2)), TensorSpec("x1", "INT64", (-1, 1))))
    one = tensors(np.array([[1, 2], [8, 8]], np.float32), np.array([[3], [8]], np.int64))
    other = tensors(np.array([[4, 5]], np.float32), np.array([[6]], np.int64))
    samples = sketcher.choose([one, other], now_ns=NS, first=5)
    assert (sketcher.kind, [sample.number for sample in samples]) == (FEATURES, [5, 6])
    assert sketcher.rows(samples).tolist() == [[1, 2, 3], [4, 5, 6]]


def test_anything_larger_is_projected_and_equal_inputs_give_equal_sketches() -> None:
    sketcher = InputSketcher(signature(TensorSpec("x0", "UINT8", (-1, 64, 64, 3))))
    random = np.random.default_rng(1)
    image = random.integers(0, 255, (1, 64, 64, 3)).astype(np.uint8)
    rows = sketcher.rows(sketcher.choose([tensors(image), tensors(image), tensors(255 - image)], now_ns=NS))
    assert (sketcher.kind, rows.shape) == (PROJECTIONS, (3, 16))
    assert (rows[0] == rows[1]).all()
    assert rows[0, 0] == pytest.approx(255 - rows[2, 0], abs=0.1)
    assert np.abs(rows[0] - rows[2])[2:].max() > 1


def test_sketches_of_a_second_are_few_and_spread_over_it() -> None:
    sketcher = InputSketcher(signature(TensorSpec("x0", "FP32", (-1, 1))))
    taken = []
    for second in range(3):
        taken.append(0)
        for at in range(100):
            batch = [tensors(np.array([[number]], np.float32)) for number in range(50)]
            taken[-1] += len(sketcher.choose(batch, now_ns=second * NS + at * NS // 100))
    assert max(taken) <= MOST_PER_SECOND
    assert taken[2] > MOST_PER_SECOND / 2


@pytest.mark.parametrize(
    "odd",
    [
        tensors(np.zeros((0, 2), np.float32)),
        tensors(np.full((1, 2), np.nan, np.float32)),
    ],
)
def test_odd_inputs_do_no_harm(odd: Tensors) -> None:
    sketcher = InputSketcher(signature(TensorSpec("x0", "FP32", (-1, 2))))
    samples = sketcher.choose([odd, tensors(np.ones((1, 2), np.float32))], now_ns=NS)
    assert samples[-1].number == 1
    assert sketcher.rows(samples)[-1].tolist() == [1, 1]


def test_inputs_of_free_size_and_others_give_rows_of_one_width() -> None:
    sketcher = InputSketcher(signature(TensorSpec("x0", "INT64", (-1, -1))))
    short, long = (tensors(np.arange(size, dtype=np.int64)[None]) for size in (3, 5_000))
    assert sketcher.rows(sketcher.choose([short, long], now_ns=NS)).shape == (2, 16)
    text = InputSketcher(signature(TensorSpec("x0", "BYTES", (-1, 1))))
    assert text.choose([short], now_ns=NS) == []
