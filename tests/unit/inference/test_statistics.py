"""What is told of answers."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest

from services.inference.domain.signature import Signature, TensorSpec
from services.inference.model_process import execution, statistics
from services.inference.model_process.answer_columns import AnswerColumns
from services.inference.model_process.encoder import Encoder
from services.inference.model_process.execution import Outcome
from services.inference.model_process.statistics import Kept, Statistics
from tests.support.batch_reports import Answering, answers, report, settled, tensors

MIB = 2**20


def bfloat16(values: Sequence[Sequence[float]]) -> np.ndarray:
    return (np.array(values, np.float32).view(np.uint32) >> 16).astype(np.uint16)


def gathered(*batches: Kept | Statistics | None, requests: Sequence[int] = ()) -> Statistics | None:
    """The figures of batches in a row, which have so many requests, one if nothing is said."""
    columns = AnswerColumns()
    for batch, count in zip(batches, requests or [1] * len(batches), strict=True):
        columns.add([report(*[settled(Outcome(b"x"))] * count, answers=batch)])
    return columns.statistics()


def told(*outputs: np.ndarray, rows: Sequence[int]) -> Statistics:
    found = gathered(answers(*outputs, rows=rows), requests=[len(rows)])
    assert found is not None
    return found


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


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, "bfloat16"])
def test_confidence_and_entropy_are_those_of_each_requests_first_row(dtype: object) -> None:
    scores = [[0.25, 0.75], [1.0, 0.0], [0.5, 0.5]]
    array = bfloat16(scores) if dtype == "bfloat16" else np.array(scores, dtype)
    statistics = told(array, rows=[2, 1])
    assert statistics.confidence.tolist() == [0.75, 0.5]
    assert statistics.entropy == pytest.approx([-0.25 * np.log(0.25) - 0.75 * np.log(0.75), np.log(2)], rel=1e-3)


def test_norms_are_over_all_rows_of_a_request() -> None:
    values = np.array([[3.0, 3.0], [5.0, 5.0], [2.0, 2.0]], np.float32)
    assert told(values, rows=[2, 1]).norm == pytest.approx([np.sqrt(17), 2.0])


def test_bfloat16_is_told_of_as_numbers() -> None:
    values = bfloat16([[3.0, 4.0], [np.nan, np.inf]])
    statistics = told(values, rows=[1, 1])
    assert statistics.norm[0] == pytest.approx(np.sqrt(12.5))
    assert statistics.nonfinite.tolist() == [0, 2]


def test_what_is_no_number_is_counted_in_all_outputs_by_request() -> None:
    first = np.array([[1.0, np.nan], [1.0, 2.0], [np.inf, -np.inf]], np.float64)
    second = np.array([[1.0], [np.nan], [1.0]], np.float32)
    assert told(first, second, rows=[1, 2]).nonfinite.tolist() == [1, 3]
    assert told(first[1:2], second[:1], rows=[1]).nonfinite.tolist() == [0]


@pytest.mark.parametrize(
    ("dtype", "value", "norm"), [("f4", 3e38, 3e38), ("f4", 2e19, 2e19), ("f8", 1e200, 3.4e38), ("f2", 6e4, 6e4)]
)
@pytest.mark.parametrize("shapes", [[(2, 3)], [(1, 3), (1, 4)]])
def test_the_norm_of_what_is_finite_is_finite(
    dtype: str, value: float, norm: float, shapes: list[tuple[int, int]]
) -> None:
    batches = [np.full((*shape, 1), value, dtype) for shape in shapes]
    model = Answering(*batches[:1])
    found = gathered(
        *[model.answers(one, rows=[1] * len(one)) for one in batches], requests=[len(one) for one in batches]
    )
    assert found is not None
    assert found.nonfinite.tolist() == [0, 0]
    assert found.norm == pytest.approx([norm, norm], rel=1e-2)


def test_large_answers_are_looked_at_at_once() -> None:
    """They are views of what belongs to the model, which may change it."""
    array = np.ones((2, 20_000), np.float32)
    found = answers(array, rows=[1, 1])
    array[:] = np.nan
    assert isinstance(found, Statistics)
    assert (found.norm.tolist(), found.nonfinite.tolist()) == ([1, 1], [0, 0])


@pytest.mark.parametrize(("dtype", "most"), [("f4", 1), ("f8", 1), ("f2", 3), ("u2", 4)])
def test_large_answers_are_looked_at_where_they_are(dtype: str, most: int) -> None:
    """Whatever their size, and although some of them is no number."""
    array = np.full((2, 8 * MIB), 0x3F80 if dtype == "u2" else 1, dtype)
    array[1, -5:] = 0x7FC0 if dtype == "u2" else np.nan
    model = Answering(array)
    model.answers(array[:, :9_000], rows=[1, 1])
    tracemalloc.start()
    try:
        found = model.answers(array, rows=[1, 1])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(found, Statistics)
    assert (found.norm[0], found.nonfinite.tolist()) == (1.0, [0, 5])
    assert peak < most * MIB


def test_figures_that_cannot_be_had_cost_nobody_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    specs = (TensorSpec("x0", "FP32", (-1, 10_000)),), (TensorSpec("y", "FP32", (-1, 10_000)),)
    signature = Signature(*specs, is_batchable=True)

    class Doubler:
        device = "cpu"

        def __init__(self) -> None:
            self.signature = signature

        def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {"y": 2 * inputs["x0"]}

    def fail(*_: object) -> Statistics:
        raise MemoryError

    encoder = Encoder(model="m", version="1", signature=signature)
    batch = [tensors(np.ones((1, 10_000), np.float32))]
    assert isinstance(execution.execute(Doubler(), encoder, batch, is_batchable=True).answers, Statistics)
    monkeypatch.setattr(statistics, "summarised", fail)
    found = execution.execute(Doubler(), encoder, batch, is_batchable=True)
    assert found.answers is None
    assert [one.error for one in found.outcomes] == [None]
    assert np.full(10_000, 2, np.float32).tobytes() in bytes(found.outcomes[0].response)


def test_answers_are_not_looked_at_where_nobody_is_told() -> None:
    array = np.ones((1, 20_000), np.float32)
    specs = (TensorSpec("y", "FP32", (-1, 20_000)),)
    encoder = Encoder(model="m", version="1", signature=Signature((), specs, is_batchable=True), is_watched=False)
    assert statistics.answers_of(encoder.prepare({"y": array}), [1], 1) is None


def test_batches_of_different_layouts_keep_their_order() -> None:
    wide, narrow = np.full((1, 3), 2.0, np.float32), np.full((2, 1), 5.0, np.float32)
    model, nothing = Answering(wide), None
    found = gathered(
        nothing,
        model.answers(wide),
        nothing,
        model.answers(narrow, rows=[1, 1]),
        nothing,
        requests=[1, 1, 2, 2, 1],
    )
    assert found is not None
    assert np.nan_to_num(found.norm, nan=-1).tolist() == [-1, 2, -1, -1, 5, 5, -1]
    assert found.nonfinite.tolist() == [0] * 7


def test_of_models_without_floating_point_outputs_there_is_nothing_to_tell() -> None:
    labels, texts = np.array([[1], [2]]), np.array([[b"a"], [b"b"]], object)
    assert answers(labels, rows=[1, 1]) is answers(texts, rows=[1, 1]) is None
    assert gathered(None, None, requests=[3, 4]) is None


def test_answers_whose_rows_differ_in_size_are_looked_at_together(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    summarised = statistics.summarised
    monkeypatch.setattr(
        "services.inference.model_process.answer_columns.summarised",
        lambda runs, rows, contents: calls.append(len(rows)) or summarised(runs, rows, contents),
    )
    scores = [np.full((1, length, 2), length, np.float32) for length in (3, 5, 5, 0, 2)]
    vectors = [np.full((1, length), np.nan, np.float32) for length in (0, 4, 1, 2, 0)]
    model = Answering(scores[0], vectors[0])
    found = gathered(*[model.answers(*outputs) for outputs in zip(scores, vectors, strict=True)])
    assert found is not None
    assert calls == [5]
    assert np.nan_to_num(found.norm, nan=-1).tolist() == [3, 5, 5, -1, 2]
    assert found.nonfinite.tolist() == [0, 4, 1, 2, 0]


def test_many_answers_are_let_go_of_before_the_second_is_over() -> None:
    array = np.ones((1, 4_000), np.float32)
    model, columns = Answering(array), AnswerColumns()
    for _ in range(100):
        columns.add([report(settled(Outcome(b"x")), answers=model.answers(array))])
        assert sum(map(len, columns._packed)) < 256 * 1024 + array.nbytes
    found = columns.statistics()
    assert found is not None
    assert found.norm.tolist() == [1] * 100


@pytest.mark.parametrize("shape", [(2, 2), (0, 2)])
def test_answers_without_rows_are_one_requests(shape: tuple[int, int]) -> None:
    matrix = np.array([[0.25, 0.75], [0.5, 0.5]], np.float32)[: shape[0]]
    found = gathered(answers(matrix, is_batchable=False))
    assert found is not None
    assert (found.is_classifiers, len(found)) == (bool(shape[0]), 1)
    assert np.nan_to_num(found.confidence, nan=-1).tolist() == [0.75 if shape[0] else -1]


def test_of_a_model_without_rows_each_output_has_its_own_size() -> None:
    model = Answering(np.zeros((1, 2), np.float32), np.zeros(1, np.float32), is_batchable=False)
    batches = [
        model.answers(np.full((rows, 2), 0.5, np.float32), np.full(size, np.inf, np.float32))
        for rows, size in ((2, 1), (3, 4))
    ]
    found = gathered(*batches)
    assert found is not None
    assert (found.confidence.tolist(), found.nonfinite.tolist()) == ([0.5, 0.5], [1, 4])
