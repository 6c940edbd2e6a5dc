"""TFLite files give through the backend, and through the gateway, what LiteRT gives by itself."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert", reason="ai_edge_litert is not installed: make test-formats")

from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.schema_py_generated import BuiltinOperator, TensorType

from services.inference.backends import LoadError, RunError
from services.inference.backends.samples import sample
from services.inference.domain.manifest import Manifest
from services.inference.domain.signature import TensorSpec
from tests.formats.conftest import Asking
from tests.formats.parity import check_digits, load
from tests.formats.tflite_models import Graph, digits_tflite, same_tflite
from tests.support.models import digits


def expected(path: Path, images: Any) -> Any:
    """By the library itself."""
    return Interpreter(str(path), num_threads=1).get_signature_runner()(image=images)["probabilities"]


def test_a_classifier_gives_the_same_and_batches(tmp_path: Path) -> None:
    path = digits_tflite(tmp_path / "m")
    check_digits(path, "litert", lambda images: expected(path, images))


def test_it_is_served_through_the_gateway(ask: Asking, tmp_path: Path) -> None:
    path, images = digits_tflite(tmp_path / "model.tflite"), digits().images[:7]
    np.testing.assert_allclose(ask(path, {"image": images})["probabilities"], expected(path, images), rtol=1e-5)


KINDS = {
    "BOOL": ("BOOL", np.array([[True, False]])),
    "UINT8": ("UINT8", np.array([[1, 255]], np.uint8)),
    "UINT16": ("UINT16", np.array([[1, 65535]], np.uint16)),
    "UINT32": ("UINT32", np.array([[1, 2**32 - 1]], np.uint32)),
    "UINT64": ("UINT64", np.array([[1, 2**64 - 1]], np.uint64)),
    "INT8": ("INT8", np.array([[-128, 127]], np.int8)),
    "INT16": ("INT16", np.array([[-32768, 32767]], np.int16)),
    "INT32": ("INT32", np.array([[-(2**31), 1]], np.int32)),
    "INT64": ("INT64", np.array([[-(2**63), 1]], np.int64)),
    "FLOAT16": ("FP16", np.array([[1.5, -2]], np.float16)),
    "FLOAT32": ("FP32", np.array([[1.5, -2e30]], np.float32)),
    "FLOAT64": ("FP64", np.array([[1.5, -2e300]], np.float64)),
    "BFLOAT16": ("BF16", np.array([[0x3F80, 0xC000]], np.uint16)),
    "STRING": ("BYTES", np.array([["é".encode(), b""], [b"a\0b\xff", b"c"]], dtype=object)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_datatype_passes_through(kind: str, tmp_path: Path) -> None:
    name, array = KINDS[kind]
    model = load(same_tflite(tmp_path / "m", getattr(TensorType, kind)))
    assert model.signature.inputs == (TensorSpec("x", name, (-1, 2)),)
    found = model.run({"x": array})["y"]
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_a_type_that_the_protocol_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"input 'x' has the type complex64: expected one of bool,"):
        load(same_tflite(tmp_path / "m", TensorType.COMPLEX64))


def test_without_a_signature_tensors_have_their_own_names(tmp_path: Path) -> None:
    model = load(digits_tflite(tmp_path / "m", signatures=()))
    assert [one.name for one in (*model.signature.inputs, *model.signature.outputs)] == ["image", "probabilities"]
    images = digits().images[:5]
    found = model.run({"image": images})["probabilities"]
    np.testing.assert_array_equal(found.argmax(axis=1), digits().predict(images))


def test_one_of_several_signatures_has_to_be_chosen(tmp_path: Path) -> None:
    path = digits_tflite(tmp_path / "m", signatures=("one", "other"))
    with pytest.raises(LoadError, match=r"got no choice of a signature, expected .* one of one, other"):
        load(path)
    with pytest.raises(LoadError, match=r"got the signature 'third'"):
        load(path, Manifest(options={"signature": "third"}))
    assert load(path, Manifest(options={"signature": "other"})).signature.is_batchable


def test_a_run_that_fails_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    path = digits_tflite(tmp_path / "m")
    model, images = load(path), digits().images[:5]
    with pytest.raises(RunError):
        model.run({"image": np.zeros((2, 63), np.float32)})
    np.testing.assert_allclose(model.run({"image": images})["probabilities"], expected(path, images), rtol=1e-6)


def test_an_operator_that_is_not_there_is_said(tmp_path: Path) -> None:
    graph = Graph()
    x, y = (graph.tensor(name, [-1, 2], TensorType.FLOAT32) for name in "xy")
    graph.operator(BuiltinOperator.CUSTOM, [x], [y], custom="FlexReadFile")
    with pytest.raises(LoadError, match=r"LiteRT can't load the model: .*FlexReadFile|Select TensorFlow op"):
        load(graph.keep(tmp_path / "m", {"x": x}, {"y": y}))


def test_a_file_that_ends_early_is_refused(tmp_path: Path) -> None:
    path = digits_tflite(tmp_path / "m")
    content = path.read_bytes()
    for size in (9, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(LoadError, match="LiteRT can't load the model"):
            load(path)


def test_damaged_files_are_refused_or_answer(tmp_path: Path) -> None:
    content, chance, refused = digits_tflite(tmp_path / "m").read_bytes(), random.Random(0), 0
    for _ in range(60):
        damaged = bytearray(content)
        for _ in range(3):
            damaged[chance.randrange(8, len(content))] = chance.randrange(256)
        (tmp_path / "m").write_bytes(damaged)
        try:
            model = load(tmp_path / "m")
            model.run(sample(model.signature, rows=2, free_size=8))
        except (LoadError, RunError):
            refused += 1
    assert refused
