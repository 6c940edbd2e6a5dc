"""OpenVINO's networks give through the backend, and through the gateway, what they give by themselves."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.modules.setdefault("openvino_telemetry", None)  # lest tests are reported
openvino = pytest.importorskip("openvino", reason="openvino is not installed: make test-formats")

from openvino import opset13 as op

from services.inference.backends import LoadError, RunError
from services.inference.domain.manifest import Manifest
from services.inference.domain.signature import TensorSpec
from tests.formats.conftest import Asking
from tests.formats.parity import check_digits, load
from tests.support.models import digits, digits_onnx


def kept(network: Any, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    openvino.save_model(network, folder / "network.xml", compress_to_fp16=False)
    return folder


def network_of(make: Callable[[Any], Any], shape: Any, kind: Any = np.float32) -> Any:
    """x → y."""
    x = op.parameter(shape, kind)
    y = make(x)
    x.output(0).get_tensor().set_names({"x"})
    y.output(0).get_tensor().set_names({"y"})
    return openvino.Model([y], [x], "network")


def same(x: Any) -> Any:
    return op.reshape(x, op.constant(np.array([0, 2])), True)


def converted_digits(folder: Path) -> Path:
    onnx = digits_onnx(folder / "digits.onnx")
    network = openvino.Core().read_model(onnx)
    onnx.unlink()
    return kept(network, folder)


def expected(folder: Path, images: Any) -> Any:
    """By the library itself."""
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    return openvino.Core().compile_model(folder / "network.xml", "CPU", settings)({"image": images})["probabilities"]


def test_a_converted_classifier_gives_the_same_and_batches(tmp_path: Path) -> None:
    folder = converted_digits(tmp_path)
    check_digits(folder, "openvino", lambda images: expected(folder, images))


def test_it_is_served_through_the_gateway(ask: Asking, tmp_path: Path) -> None:
    folder, images = converted_digits(tmp_path), digits().images[:7]
    outputs = ask(folder, {"image": images})
    np.testing.assert_allclose(outputs["probabilities"], expected(folder, images), rtol=1e-5, atol=1e-6)


KINDS = {
    "boolean": ("BOOL", np.array([[True, False]])),
    "u8": ("UINT8", np.array([[1, 255]], np.uint8)),
    "u16": ("UINT16", np.array([[1, 65535]], np.uint16)),
    "u32": ("UINT32", np.array([[1, 2**31 - 1]], np.uint32)),
    "u64": ("UINT64", np.array([[1, 2**31 - 1]], np.uint64)),
    "i8": ("INT8", np.array([[-128, 127]], np.int8)),
    "i16": ("INT16", np.array([[-32768, 32767]], np.int16)),
    "i32": ("INT32", np.array([[-(2**31), 2**31 - 1]], np.int32)),
    "i64": ("INT64", np.array([[-(2**31), 2**31 - 1]], np.int64)),
    "f16": ("FP16", np.array([[1.5, -2]], np.float16)),
    "f32": ("FP32", np.array([[1.5, -2e30]], np.float32)),
    "f64": ("FP64", np.array([[1.5, -2]], np.float64)),
    "bf16": ("BF16", np.array([[0x3F80, 0xC000]], np.uint16)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_datatype_passes_through(kind: str, tmp_path: Path) -> None:
    name, array = KINDS[kind]
    network = network_of(same, [-1, 2], getattr(openvino.Type, kind))
    model = load(kept(network, tmp_path / "m"))
    assert model.signature.inputs == (TensorSpec("x", name, (-1, 2)),)
    found = model.run({"x": array})["y"]
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_integers_that_would_be_cut_are_refused(tmp_path: Path) -> None:
    network = network_of(same, [-1, 2], np.int64)
    model = load(kept(network, tmp_path / "m"))
    with pytest.raises(RunError, match=r"input 'x' has 1099511627776, which openvino would cut to 32 bits"):
        model.run({"x": np.array([[2**40, 1]])})


def test_a_bounded_batch_is_read_and_a_larger_one_fails_cleanly(tmp_path: Path) -> None:
    shape = openvino.PartialShape([openvino.Dimension(1, 8), 2])
    model = load(kept(network_of(op.relu, shape), tmp_path / "m"))
    assert (model.signature.is_batchable, model.signature.max_batch_size) == (True, 8)
    with pytest.raises(RunError, match="incompatible"):
        model.run({"x": np.zeros((9, 2), np.float32)})
    np.testing.assert_array_equal(model.run({"x": np.ones((8, 2), np.float32)})["y"], np.ones((8, 2)))


def test_nothing_is_reported_to_its_maker(tmp_path: Path) -> None:
    kept(network_of(op.relu, [-1, 2]), tmp_path / "m")
    code = (
        "from pathlib import Path\n"
        "from services.inference import backends\n"
        "from services.inference.backends import ModelFiles, Placement\n"
        f"backends.load(ModelFiles(Path({str(tmp_path / 'm')!r})), 'openvino', Placement('cpu', 1))"
    )
    (tmp_path / "home").mkdir()
    environ = {name: value for name, value in os.environ.items() if name not in ("CI", "TF_BUILD", "JENKINS_URL")}
    environ |= {"HOME": str(tmp_path / "home"), "https_proxy": "http://127.0.0.1:9"}
    subprocess.run([sys.executable, "-c", code], env=environ, check=True)
    assert list((tmp_path / "home").iterdir()) == []  # the library would keep a number of this user there


def test_what_a_network_remembers_is_forgotten_between_callers(tmp_path: Path) -> None:
    x = op.parameter([1, 2], np.float32, name="x")
    total = op.add(op.read_value(op.constant(np.zeros((1, 2), np.float32)), "sum", np.float32, [1, 2]), x)
    network = openvino.Model([op.result(total, name="y")], [op.assign(total, "sum")], [x], "network")
    model = load(kept(network, tmp_path / "m"))
    (output,) = model.signature.outputs
    for _ in range(2):
        found = model.run({"x": np.ones((1, 2), np.float32)})[output.name]
        np.testing.assert_array_equal(found, np.ones((1, 2)))


def test_the_precision_is_the_authors_to_lower(tmp_path: Path) -> None:
    folder = converted_digits(tmp_path)
    images = digits().images[:20]
    lowered = load(folder, Manifest(options={"precision": "bf16"})).run({"image": images})["probabilities"]
    np.testing.assert_allclose(lowered, expected(folder, images), atol=0.05)
    with pytest.raises(LoadError, match=r"got the option precision='int8', expected one of f32, bf16, f16"):
        load(folder, Manifest(options={"precision": "int8"}))


def test_weights_that_are_missing_or_cut_are_said(tmp_path: Path) -> None:
    folder = converted_digits(tmp_path)
    weights = folder / "network.bin"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(LoadError, match="Incorrect weights in bin file"):
        load(folder)
    weights.unlink()
    with pytest.raises(LoadError, match=r"weights are expected in network\.bin, which is not there"):
        load(folder)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'offset="0"', b'offset="-64"'),
        (b'offset="', b'offset="18446744073709551615'),
        (b'size="', b'size="9223372036854775807'),
        (b'shape="64, 10"', b'shape="9223372036854775807, 9223372036854775807"'),
        (b'type="MatMul" version="opset1"', b'type="Loader" version="extension"'),
        (b'<edge from-layer="0"', b'<edge from-layer="99"'),
    ],
    ids=["negative", "far away", "endless", "huge", "foreign operator", "no such layer"],
)
def test_a_network_that_was_tampered_with_is_refused(old: bytes, new: bytes, tmp_path: Path) -> None:
    path = converted_digits(tmp_path) / "network.xml"
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))
    with pytest.raises(LoadError, match="openvino can't load the model"):
        load(tmp_path)


def test_a_network_that_ends_early_is_refused(tmp_path: Path) -> None:
    path = converted_digits(tmp_path) / "network.xml"
    content = path.read_bytes()
    for size in (80, len(content) // 3, len(content) // 2, len(content) - 20):
        path.write_bytes(content[:size])
        with pytest.raises(LoadError, match="openvino can't load the model"):
            load(tmp_path)


def test_entities_are_not_expanded(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hidden words")
    path = converted_digits(tmp_path) / "network.xml"
    entity = f'<?xml version="1.0"?>\n<!DOCTYPE net [<!ENTITY x SYSTEM "file://{tmp_path}/secret">]>'.encode()
    path.write_bytes(path.read_bytes().replace(b'<?xml version="1.0"?>', entity))
    with pytest.raises(LoadError, match=r"^(?!.*hidden)"):
        load(tmp_path)
