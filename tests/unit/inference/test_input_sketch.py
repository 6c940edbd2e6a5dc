"""What is told of inputs."""

from __future__ import annotations

import numpy as np
import pytest

from services.inference.domain.signature import Signature, TensorSpec
from services.inference.domain.sketching import SketchInputs
from services.inference.model_process.execution import Outcome
from services.inference.model_process.input_sketch import (
    FEATURES,
    MOST_PER_SECOND,
    PROJECTIONS,
    InputSketcher,
    Sample,
)
from services.inference.model_process.tensors import Tensors
from services.inference.model_process.worker import Request
from tests.support.batch_reports import asked, settled, tensors

NS = 1_000_000_000


def signature(*inputs: TensorSpec) -> Signature:
    return Signature(inputs, (), is_batchable=True)


def requests(*asks: Tensors) -> list[Request]:
    return [asked(settled(Outcome()).delivery, one) for one in asks]


def chosen(sketcher: InputSketcher, *asks: Tensors, now_ns: int = NS, first: int = 0) -> list[Sample]:
    return sketcher.choose(requests(*asks), now_ns=now_ns, first=first)


@pytest.mark.parametrize("is_raw", [True, False])
def test_features_of_small_tables_are_given_as_they_are(*, is_raw: bool) -> None:
    sketcher = InputSketcher(signature(TensorSpec("x0", "FP32", (-1, 2)), TensorSpec("x1", "INT64", (-1, 1))))
    one = tensors(np.array([[1, 2], [8, 8]], np.float32), np.array([[3], [8]], np.int64), is_raw=is_raw)
    other = tensors(np.array([[4, 5]], np.float32), np.array([[6]], np.int64))
    samples = chosen(sketcher, one, other, first=5)
    assert (sketcher.kind, [number for number, _, _ in samples]) == (FEATURES, [5, 6])
    assert sketcher.rows(samples).tolist() == [[1, 2, 3], [4, 5, 6]]


def test_features_of_bfloat16_are_given_as_numbers() -> None:
    sketcher = InputSketcher(signature(TensorSpec("x0", "BF16", (-1, 2))))
    bits = np.array([[0x3DCD, 0xBDCD]], np.uint16)
    assert sketcher.rows(chosen(sketcher, tensors(bits)))[0] == pytest.approx([0.1, -0.1], rel=1e-2)


@pytest.mark.parametrize("is_raw", [True, False])
def test_anything_larger_is_projected_and_equal_inputs_give_equal_sketches(*, is_raw: bool) -> None:
    sketcher = InputSketcher(signature(TensorSpec("x0", "UINT8", (-1, 64, 64, 3))))
    random = np.random.default_rng(1)
    image = random.integers(0, 255, (1, 64, 64, 3)).astype(np.uint8)
    rows = sketcher.rows(chosen(sketcher, tensors(image), tensors(image, is_raw=is_raw), tensors(255 - image)))
    assert (sketcher.kind, rows.shape) == (PROJECTIONS, (3, 16))
    assert (rows[0] == rows[1]).all()
    assert rows[0, 0] == pytest.approx(255 - rows[2, 0], abs=0.1)
    assert np.abs(rows[0] - rows[2])[2:].max() > 1


@pytest.mark.parametrize("size", [40, 150, 256, 300, 5_000])
def test_mean_and_deviation_are_those_of_the_elements_however_many_there_are(size: int) -> None:
    sketcher = InputSketcher(signature(TensorSpec("x0", "FP32", (-1, -1))))
    row = np.random.default_rng(size).normal(7, 3, (1, size)).astype(np.float32)
    stride = -(-size // 256)
    ((mean, deviation, *projections),) = sketcher.rows(chosen(sketcher, tensors(row)))
    assert (mean, deviation) == pytest.approx((row[:, ::stride].mean(), row[:, ::stride].std()), rel=1e-5)
    assert max(map(abs, projections)) < 10 * np.sqrt(58)


def test_sketches_keep_the_order_of_requests_whatever_their_shapes() -> None:
    sketcher = InputSketcher(signature(TensorSpec("x0", "INT64", (-1, -1))))
    asks = [tensors(np.full((1, 3 + number % 3), number, np.int64)) for number in range(12)]
    assert sketcher.rows(chosen(sketcher, *asks))[:, 0].tolist() == list(range(12))


def test_sketches_of_a_second_are_few_and_spread_over_it() -> None:
    sketcher = InputSketcher(signature(TensorSpec("x0", "FP32", (-1, 1))))
    taken = []
    for second in range(3):
        taken.append(0)
        for at in range(100):
            batch = [tensors(np.array([[number]], np.float32)) for number in range(50)]
            taken[-1] += len(chosen(sketcher, *batch, now_ns=second * NS + at * NS // 100))
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
    samples = chosen(sketcher, odd, tensors(np.ones((1, 2), np.float32)))
    assert samples[-1][0] == 1
    assert sketcher.rows(samples)[-1].tolist() == [1, 1]


def test_inputs_of_free_size_and_others_give_rows_of_one_width() -> None:
    sketcher = InputSketcher(signature(TensorSpec("x0", "INT64", (-1, -1))))
    none, short, long = (tensors(np.arange(size, dtype=np.int64)[None]) for size in (0, 3, 5_000))
    samples = chosen(sketcher, none, short, long)
    assert [number for number, _, _ in samples] == [1, 2], "of nothing there is no sketch"
    assert sketcher.rows(samples).shape == (2, 16)


def test_texts_are_not_sketched() -> None:
    text = InputSketcher(signature(TensorSpec("x0", "BYTES", (-1, 1))))
    assert (text.is_on, chosen(text, tensors(np.array([[b"a"]], object)))) == (False, [])


def test_more_inputs_than_elements_are_looked_at_do_no_harm() -> None:
    sketcher = InputSketcher(signature(*[TensorSpec(f"x{number}", "FP32", (-1, -1)) for number in range(300)]))
    assert sketcher.rows(chosen(sketcher, tensors(*[np.ones((1, 2), np.float32)] * 300)))[0, 0] == 1


@pytest.mark.parametrize(
    ("wanted", "shape", "size", "is_sketched"),
    [
        ("all", (-1, 32), 32, True),
        ("projections", (-1, 32), 32, False),
        ("projections", (-1, 33), 33, True),
        ("projections", (-1, -1), 32, False),
        ("projections", (-1, -1), 33, True),
        ("off", (-1, 33), 33, False),
    ],
)
def test_inputs_are_told_of_as_far_as_they_may_be(
    wanted: SketchInputs, shape: tuple[int, int], size: int, *, is_sketched: bool
) -> None:
    sketcher = InputSketcher(signature(TensorSpec("x0", "FP32", shape)), wanted=wanted)
    assert bool(chosen(sketcher, tensors(np.ones((1, size), np.float32)))) is is_sketched
