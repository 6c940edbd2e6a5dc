"""What a version is put through: real models, some of which mix up the rows of a batch."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from services.inference import backends
from services.inference.backends import ModelFiles, Placement
from services.inference.domain.manifest import Manifest, Step
from services.inference.inspector import Inspection, inspect
from services.inference.probes import Outcome, Prober
from tests.support.models import digits_onnx, identity_onnx, onnx_of


def probes(path: Path) -> dict[str, tuple[Outcome, str]]:
    model = backends.load(ModelFiles(path), "onnx", Placement("cpu", 1))
    return {one.name: (one.outcome, one.detail) for one in Prober(model).probe()}


def inspected(path: Path) -> dict[str, Any]:
    return inspect(Inspection(str(path), "", False, "cpu", 1))


def value(name: str, *shape: Any) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def test_what_treats_each_row_alone_passes(tmp_path: Path) -> None:
    for path in (identity_onnx(tmp_path / "i"), digits_onnx(tmp_path / "d")):
        assert probes(path) == dict.fromkeys(("repeats", "batches", "rows"), (Outcome.PASSED, ""))


def test_a_dynamically_quantised_model_lets_one_request_move_another(tmp_path: Path) -> None:
    """Its scale is that of the whole batch: see docs/formats.md."""
    quantize_dynamic(digits_onnx(tmp_path / "digits.onnx"), tmp_path / "int8.onnx", weight_type=QuantType.QInt8)
    outcome, detail = probes(tmp_path / "int8.onnx")["rows"]
    assert outcome is Outcome.FAILED
    assert "a row is another one beside rows" in detail
    verdict = inspected(tmp_path / "int8.onnx")
    assert not verdict["signature"]["is_batchable"]
    assert {one["name"]: one["outcome"] for one in verdict["probes"]}["rows"] == "FAILED"
    assert [one["rows"] for one in verdict["batches"]] == [1]


def test_a_mean_over_the_batch_is_found(tmp_path: Path) -> None:
    path = onnx_of(
        tmp_path / "m",
        [helper.make_node("ReduceMean", ["x", "axes"], ["mean"]), helper.make_node("Sub", ["x", "mean"], ["y"])],
        [value("x", "n", 4)],
        [value("y", "n", 4)],
        [numpy_helper.from_array(np.array([0]), "axes")],
    )
    found = probes(path)
    assert found["batches"][0] is found["rows"][0] is Outcome.FAILED
    assert "row 0 alone is not what it is among 5: output 'y' differs by" in found["batches"][1]


def test_a_model_with_noise_does_not_repeat_itself(tmp_path: Path) -> None:
    nodes = [helper.make_node("RandomNormalLike", ["x"], ["noise"]), helper.make_node("Add", ["x", "noise"], ["y"])]
    path = onnx_of(tmp_path / "m", nodes, [value("x", "n", 4)], [value("y", "n", 4)])
    assert probes(path)["repeats"][0] is Outcome.FAILED
    assert not inspected(path)["signature"]["is_batchable"]


@pytest.mark.parametrize("make", [identity_onnx, digits_onnx])
def test_batches_are_measured_up_to_the_largest(make: Any, tmp_path: Path) -> None:
    verdict = inspected(make(tmp_path / "m"))
    assert [one["rows"] for one in verdict["batches"]] == [1, 4, 16, 64]
    assert all(one["duration_s"] > 0 for one in verdict["batches"])
    assert verdict["resident_bytes"] > 2**20


def test_what_a_batch_takes_for_a_while_is_measured(tmp_path: Path) -> None:
    """Each row becomes 256 KiB of noise, and one number again."""
    nodes = [
        helper.make_node("Expand", ["x", "shape"], ["wide"]),
        helper.make_node("Sin", ["wide"], ["sine"]),
        helper.make_node("ReduceSum", ["sine", "axes"], ["y"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([1, 65_536]), "shape"),
        numpy_helper.from_array(np.array([1]), "axes"),
    ]
    path = onnx_of(tmp_path / "m", nodes, [value("x", "n", 1)], [value("y", "n", 1)], constants)
    with ProcessPoolExecutor(
        1, get_context("spawn")
    ) as fresh:  # this process may have memory left that others gave back
        few, *_, many = fresh.submit(inspected, path).result()["batches"]
    assert many["peak_bytes"] > 64 * 2**18 > few["peak_bytes"]


@pytest.mark.parametrize(("operator", "outcome"), [("Identity", "PASSED"), ("Sub", "FAILED")])
def test_a_model_with_steps_is_tried_with_what_they_read(operator: str, outcome: str, tmp_path: Path) -> None:
    """One subtracts the mean over the batch."""
    nodes = [helper.make_node("ReduceMean", ["x", "axes"], ["mean"])]
    inputs = ["x", "mean"] if operator == "Sub" else ["x"]
    path = onnx_of(
        tmp_path / "m",
        [*nodes, helper.make_node(operator, inputs, ["y"])],
        [value("x", "n", 4, 4, 3)],
        [value("y", "n", 4, 4, 3)],
        [numpy_helper.from_array(np.array([0]), "axes")],
    )
    steps = Step("decode_image", {"size": [4, 4]}), Step("scale", {"factor": 0.01})
    verdict = inspect(Inspection(str(path), "", False, "cpu", 1, Manifest(preprocessing=steps)))
    assert verdict["signature"]["inputs"][0]["datatype"] == "BYTES"
    assert [one["outcome"] for one in verdict["probes"]] == ["PASSED", outcome, outcome]
    assert verdict["signature"]["is_batchable"] == (operator == "Identity")
