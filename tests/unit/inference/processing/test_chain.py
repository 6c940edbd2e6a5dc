"""Steps among each other and with a model: what callers see, and what can't be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from services.inference.backends import LoadError
from services.inference.domain.manifest import Step
from services.inference.domain.signature import TensorSpec
from tests.unit.inference.processing.models import Function, echo, step, with_steps

IMAGE = step("decode_image", size=[4, 4])


def test_callers_see_what_the_first_step_reads_and_what_is_left_after_the_last() -> None:
    outputs = [TensorSpec("scores", "FP32", (-1, 3), ("a", "b", "c")), TensorSpec("other", "INT64", (-1,))]
    model = Function(
        [TensorSpec("pixels", "UINT8", (-1, 4, 4, 3)), TensorSpec("weight", "FP32", (-1,))],
        outputs,
        lambda inputs: {"scores": np.zeros((1, 3), np.float32), "other": np.array([1])},
    )
    found = with_steps(model, [step("decode_image", output="pixels", size=[4, 4])], [step("top_k", input="scores")])
    assert found.signature.inputs == (TensorSpec("image", "BYTES", (-1,)), TensorSpec("weight", "FP32", (-1,)))
    assert found.signature.outputs == (
        TensorSpec("other", "INT64", (-1,)),
        TensorSpec("label", "BYTES", (-1, 1)),
        TensorSpec("score", "FP32", (-1, 1)),
    )
    assert found.signature.is_batchable


def test_callers_get_what_output_says_in_its_order() -> None:
    steps = [step("softmax", output="p"), step("top_k"), step("output", names=["label", "p"])]
    found = with_steps(echo("FP32", -1, 2), after=steps)
    assert [spec.name for spec in found.signature.outputs] == ["label", "p"]
    assert found.run({"x": np.array([[0, 1]], np.float32)})["label"] == [[1]]


def test_a_model_of_one_row_stays_one() -> None:
    found = with_steps(echo("UINT8", 1, 4, 4, 3), [IMAGE])
    assert found.signature.inputs == (TensorSpec("image", "BYTES", (1,)),)
    assert not found.signature.is_batchable


@pytest.mark.parametrize(
    ("before", "message"),
    [
        ([step("blur")], r"step 1 of preprocessing \(blur\): got operation 'blur', expected one of cast, decode_image"),
        ([step("scale", by=2)], r"\(scale\): got argument 'by', expected some of input, output, factor, offset"),
        ([step("scale", factor="2")], r"\(scale\): got factor = '2', expected a number"),
        ([step("scale", factor=True)], "got factor = True, expected a number"),
        ([step("cast")], "expected argument 'datatype', got none"),
        ([step("cast", datatype="FP31")], "got datatype 'FP31', expected one of"),
        ([step("layout", to="HWC")], "got to = 'HWC', expected one of NCHW, NHWC"),
        ([step("layout", to="NCHW")], r"got input 'x' FP32 \[-1, 2\], expected images: 4 dimensions"),
        ([step("decode_image", size=[4.5, 4])], "got size = 4.5, expected a whole number"),
        ([step("decode_image", size=[4])], r"got size = \[4\], expected a list, 2 of these: a whole number"),
        ([step("decode_image")], "expected a size, or a shorter_side and a crop"),
        ([step("decode_image", shorter_side=4, crop=[8, 4])], "expected a size, or a shorter_side and a crop"),
        ([step("normalize", mean=[1, 2], std=[0, 1])], "expected as many of each, no std of 0"),
        ([step("normalize", mean=[1, 2, 3], std=[1, 1, 1])], "got 3 means for axis -1 of 'x' FP32"),
        ([step("scale", input="z")], "got input 'z', expected one of 'x'"),
        ([step("scale", output="pixels")], r"it makes 'pixels', which nothing takes: expected some of 'x'"),
        ([IMAGE], r"the steps before the model make 'x' UINT8 \[-1, 4, 4, 3\], it takes 'x' FP32 \[-1, 2\]"),
        ([step("tokenize", max_length=8)], "got file = 'tokenizer.json', expected one of"),
        ([step("tokenize", max_length=0)], "got max_length = 0"),
        ([step("input", tensor="x", datatype="FP32", shape=[])], r"got shape = \[\], expected sizes above 0"),
        (
            [step("scale"), step("input", tensor="x", datatype="FP32", shape=[1])],
            "which an earlier step reads or makes",
        ),
    ],
)
def test_steps_that_do_not_fit_are_refused_with_what_would(before: list[Step], message: str) -> None:
    with pytest.raises(LoadError, match=message):
        with_steps(echo("FP32", -1, 2), before)


@pytest.mark.parametrize(
    ("after", "message"),
    [
        (
            [step("top_k", k=3)],
            r"step 1 of postprocessing \(top_k\): got input 'y' FP32 \[-1, 2\], .* 3 classes or more",
        ),
        ([step("top_k", k=0)], "got k = 0, expected 1 or more"),
        ([step("pool")], "got input 'attention_mask', expected one of 'x', 'y'"),
        ([step("pool", mask="x")], "expected floating-point numbers"),
        ([step("output", names=["y", "y"])], "expected each tensor once"),
        ([step("output", names=["z"])], "got input 'z', expected one of 'x', 'y'"),
        ([step("softmax", output="p"), step("top_k"), step("softmax")], "got input '', expected one of"),
    ],
)
def test_so_are_steps_after_the_model(after: list[Step], message: str) -> None:
    with pytest.raises(LoadError, match=message):
        with_steps(echo("FP32", -1, 2), after=after)


def test_arguments_may_come_as_json_has_them() -> None:
    found: Any = with_steps(echo("FP32", -1, 2), after=[step("top_k", k=2.0)])
    assert found.signature.outputs[0].shape == (-1, 2)
