"""Small models, made on the spot."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


def identity_onnx(path: Path, *, width: int = 16) -> Path:
    """ONNX: INPUT0 FP32 [-1, width] → OUTPUT0, the same."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["INPUT0"], ["OUTPUT0"])],
        "identity",
        [helper.make_tensor_value_info("INPUT0", TensorProto.FLOAT, ["batch", width])],
        [helper.make_tensor_value_info("OUTPUT0", TensorProto.FLOAT, ["batch", width])],
    )
    return _save(graph, path)


def folder_onnx(folder: Path, *, location: str = "weights/bias.bin", bias: float = 100.0) -> Path:
    """ONNX in two files: INPUT0 FP32 [-1, 16] → OUTPUT0, higher by the bias, which lies in ``weights/bias.bin``.

    The graph says that it lies at ``location``.
    """
    graph = helper.make_graph(
        [helper.make_node("Add", ["INPUT0", "bias"], ["OUTPUT0"])],
        "bias",
        [helper.make_tensor_value_info("INPUT0", TensorProto.FLOAT, ["batch", 16])],
        [helper.make_tensor_value_info("OUTPUT0", TensorProto.FLOAT, ["batch", 16])],
        [numpy_helper.from_array(np.full(16, bias, np.float32), "bias")],
    )
    (folder / "weights").mkdir(parents=True, exist_ok=True)
    path = _save(graph, folder / "graph.onnx")
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights/bias.bin", size_threshold=0)
    model = onnx.load(path, load_external_data=False)
    place = next(one for one in model.graph.initializer[0].external_data if one.key == "location")
    place.value = location
    path.write_bytes(model.SerializeToString())
    return folder


def onnx_of(
    path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], initializers: Sequence[Any] = ()
) -> Path:
    """ONNX of any nodes."""
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(path))
    return path


def same_onnx(path: Path, kind: int, shape: Sequence[int | str]) -> Path:
    """ONNX: "x" comes out as "y"."""
    value = helper.make_tensor_value_info
    node = helper.make_node("Identity", ["x"], ["y"])
    return onnx_of(path, [node], [value("x", kind, shape)], [value("y", kind, shape)])


def idle_loop_body() -> onnx.GraphProto:
    """ONNX: what a loop does in each turn that is to change nothing, and takes about a microsecond of CPU."""
    return helper.make_graph(
        [helper.make_node("Identity", [name], [f"{name}_out"]) for name in ("go_on", "value")],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("go_on_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value_out", TensorProto.FLOAT, None),
        ],
    )


def slow_onnx(path: Path, *, width: int = 16, loops: int = 200_000) -> Path:
    """ONNX: as the identity, but a loop inside takes about a microsecond of CPU per turn, whatever the batch."""
    graph = helper.make_graph(
        [helper.make_node("Loop", ["turns", "yes", "INPUT0"], ["OUTPUT0"], body=idle_loop_body())],
        "slow",
        [helper.make_tensor_value_info("INPUT0", TensorProto.FLOAT, ["batch", width])],
        [helper.make_tensor_value_info("OUTPUT0", TensorProto.FLOAT, ["batch", width])],
        [
            numpy_helper.from_array(np.array(loops, np.int64), "turns"),
            numpy_helper.from_array(np.array(True), "yes"),
        ],
    )
    return _save(graph, path)


def fragile_onnx(path: Path) -> Path:
    """ONNX: INDEX INT64 [-1, 1] → VALUE FP32 [-1, 1], ten times the index; the run fails when one is not 0 to 3."""
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "INDEX"], ["VALUE"])],
        "fragile",
        [helper.make_tensor_value_info("INDEX", TensorProto.INT64, ["batch", 1])],
        [helper.make_tensor_value_info("VALUE", TensorProto.FLOAT, ["batch", 1])],
        [numpy_helper.from_array(np.array([0, 10, 20, 30], np.float32), "table")],
    )
    return _save(graph, path)


def _save(graph: onnx.GraphProto, path: Path) -> Path:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


@dataclass(frozen=True, slots=True)
class Digits:
    """A linear classifier of scikit-learn's digits as plain weights, with its held-out images and their labels."""

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    images: NDArray[np.float32]
    labels: NDArray[np.int64]

    def predict(self, images: NDArray[np.float32]) -> NDArray[np.int64]:
        return np.asarray((images @ self.weights + self.bias).argmax(axis=1))


@functools.cache
def digits() -> Digits:
    """Fit once per process; about 0.2 s."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split

    data = load_digits()
    images = (data.data / 16).astype(np.float32)
    train, test, train_labels, test_labels = train_test_split(
        images, data.target, test_size=400, random_state=0, stratify=data.target
    )
    fitted = LogisticRegression(max_iter=1000).fit(train, train_labels)
    return Digits(fitted.coef_.T.astype(np.float32), fitted.intercept_.astype(np.float32), test, test_labels)


def digits_onnx(path: Path, *, weights: NDArray[np.float32] | None = None) -> Path:
    """ONNX: image FP32 [-1, 64] → probabilities FP32 [-1, 10] of :func:`digits`, or with other weights, [64, 10]."""
    model = digits()
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["image", "weights", "bias"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=-1),
        ],
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 64])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 10])],
        [
            numpy_helper.from_array(model.weights if weights is None else weights, "weights"),
            numpy_helper.from_array(model.bias, "bias"),
        ],
    )
    return _save(graph, path)


def digits_torch_export(path: Path) -> Path:
    """torch.export of the same classifier: image FP32 [-1, 64] → probabilities."""
    import torch

    model = digits()

    class Classifier(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(64, 10)

        def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"probabilities": torch.softmax(self.linear(image), dim=-1)}

    module = Classifier().eval()
    module.linear.load_state_dict({"weight": torch.tensor(model.weights.T), "bias": torch.tensor(model.bias)})
    batch = torch.export.Dim("batch", min=1, max=1024)
    program = torch.export.export(module, (torch.zeros(2, 64),), dynamic_shapes=({0: batch},))
    torch.export.save(program, str(path))
    return path
