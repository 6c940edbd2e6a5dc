"""Steps over numbers, against the mathematics that they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.unit.inference.processing.models import echo, made, step, with_steps

SCORES = np.array([[2.0, -1.0, 0.5], [1000.0, 1000.0, -1000.0]], np.float32)


def test_pixels_are_normalised_as_torchvision_does() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), np.uint8)
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    model = with_steps(
        echo("FP32", -1, 3, 4, 5),
        [
            step("input", tensor="x", datatype="UINT8", shape=[-1, 4, 5, 3]),
            step("layout", to="NCHW"),
            step("normalize", mean=mean, std=std, scale=1 / 255, axis=1),
        ],
    )
    assert (model.signature.inputs[0].datatype, model.signature.inputs[0].shape) == ("UINT8", (-1, 4, 5, 3))
    expected = ((pixels / 255 - mean) / std).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(model.run({"x": pixels})["y"], expected, atol=1e-5)


def test_channels_go_first_and_back() -> None:
    images = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    back = made([step("layout", to="NHWC"), step("layout", to="NCHW")], images)
    np.testing.assert_array_equal(back["y"], images)
    np.testing.assert_array_equal(made([step("layout", to="NHWC")], images)["y"], np.moveaxis(images, 1, 3))


@pytest.mark.parametrize(
    ("datatype", "values", "expected"),
    [
        ("INT32", [1.9, -1.9], np.array([1, -1], np.int32)),
        ("BOOL", [0, 0.1], np.array([False, True])),
        ("BF16", [1.0, np.nan], np.array([0x3F80, 0x7FC0], np.uint16)),
        ("BF16", [1.00390625, 1.01171875], np.array([0x3F80, 0x3F82], np.uint16)),  # halfway: to the even one
    ],
)
def test_numbers_are_cast(datatype: str, values: list[float], expected: np.ndarray) -> None:
    found = made([step("cast", datatype=datatype)], np.array([values], np.float32))["y"]
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found[0], expected)


def test_bfloat16_is_read_as_the_numbers_that_it_is() -> None:
    found = made([step("scale", factor=2, offset=1)], np.array([[0x3F80, 0xC000]], np.uint16), "BF16")["y"]
    np.testing.assert_array_equal(found, np.array([[3, -3]], np.float32))
    assert found.dtype == np.float32
    patterns = np.arange(24, dtype=np.uint16).reshape(1, 2, 3, 4)
    np.testing.assert_array_equal(made([step("layout", to="NHWC")], patterns, "BF16")["y"], np.moveaxis(patterns, 1, 3))
    np.testing.assert_array_equal(made([step("cast", datatype="BF16")], patterns << 7, "BF16")["y"], patterns << 7)


def test_scores_become_probabilities() -> None:
    found = made([step("softmax")], SCORES)["y"]
    powers = np.exp(SCORES[0].astype(np.float64))
    np.testing.assert_allclose(found, [powers / powers.sum(), [0.5, 0.5, 0]], atol=1e-6)
    found = made([step("sigmoid")], SCORES.astype(np.float64), "FP64")["y"]
    np.testing.assert_allclose(found, [1 / (1 + np.exp(-SCORES[0].astype(np.float64))), [1, 1, 0]])


def test_vectors_become_as_long_as_one() -> None:
    np.testing.assert_allclose(
        made([step("l2_normalize")], np.array([[3, 4], [0, 0]], np.float32))["y"], [[0.6, 0.8], [0, 0]]
    )


def test_the_best_classes_are_named() -> None:
    found = made([step("softmax"), step("top_k", k=2)], SCORES, labels=("cat", "dog", "cow"))
    assert found["label"].tolist() == [[b"cat", b"cow"], [b"cat", b"dog"]]
    np.testing.assert_allclose(found["score"][1], [0.5, 0.5])
    numbered = made([step("top_k", label="class")], SCORES)
    assert numbered["class"].dtype == np.int64
    assert numbered["class"].tolist() == [[0], [0]]


def test_a_threshold_is_met_by_itself() -> None:
    assert made([step("threshold", value=0.5)], SCORES)["y"].tolist() == [[True, False, True], [True, True, False]]


@given(arrays.arrays(np.float32, (3, 4), elements=st.floats(-1e4, 1e4, width=32)))
def test_no_row_influences_another(rows: np.ndarray) -> None:
    for steps in ([step("softmax")], [step("l2_normalize")], [step("sigmoid"), step("top_k", k=2)]):
        together, alone = made(steps, rows), made(steps, rows[1:2])
        for name, array in together.items():
            np.testing.assert_array_equal(array[1:2], alone[name])
