"""The models that are measured, a request for each, and what the right answer is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tritonclient.grpc import service_pb2 as oip

Rows = NDArray[np.float32]


class Workload(ABC):
    """A model with one FP32 input ``[-1, width]``, asked for one row at a time."""

    name: str
    title: str
    input_name: str
    output_name: str
    width: int

    @abstractmethod
    def save(self, path: Path) -> None:
        """Write the model as ONNX."""

    @abstractmethod
    def rows(self, count: int) -> Rows:
        """Real inputs, the same at every call."""

    @abstractmethod
    def expected(self, rows: Rows) -> Rows:
        """The right outputs, computed without Penstock."""

    def request(self) -> bytes:
        """A serialised ModelInferRequest of one row, as ``tritonclient`` would send it."""
        message = oip.ModelInferRequest(model_name=self.name, raw_input_contents=[self.rows(1).tobytes()])
        message.inputs.add(name=self.input_name, datatype="FP32", shape=[1, self.width])
        return message.SerializeToString()


class Identity(Workload):
    """Gives back what it gets: whatever a request costs, the suite costs."""

    name, title, input_name, output_name, width = "bench-identity", "identity, FP32 [1, 16]", "INPUT0", "OUTPUT0", 16

    def save(self, path: Path) -> None:
        _save(path, [helper.make_node("Identity", [self.input_name], [self.output_name])], self, width_out=16)

    def rows(self, count: int) -> Rows:
        return np.random.default_rng(0).normal(size=(count, self.width)).astype(np.float32)

    def expected(self, rows: Rows) -> Rows:
        return rows


class Digits(Workload):
    """A multilayer perceptron (64 → 128 → 10) that classifies scikit-learn's digits, trained on the spot."""

    name, title, input_name, output_name, width = (
        "bench-digits",
        "digits MLP, FP32 [1, 64]",
        "image",
        "probabilities",
        64,
    )

    def __init__(self) -> None:
        from sklearn.datasets import load_digits
        from sklearn.neural_network import MLPClassifier

        data = load_digits()
        self._images = (data.data / 16).astype(np.float32)
        fitted = MLPClassifier((128,), random_state=0, tol=1e-3, n_iter_no_change=3).fit(self._images, data.target)
        self._weights = [weight.astype(np.float32) for weight in fitted.coefs_]
        self._biases = [bias.astype(np.float32) for bias in fitted.intercepts_]

    def save(self, path: Path) -> None:
        nodes = [
            helper.make_node("Gemm", [self.input_name, "w0", "b0"], ["h0"]),
            helper.make_node("Relu", ["h0"], ["h1"]),
            helper.make_node("Gemm", ["h1", "w1", "b1"], ["h2"]),
            helper.make_node("Softmax", ["h2"], [self.output_name], axis=-1),
        ]
        parameters = {"w0": self._weights[0], "b0": self._biases[0], "w1": self._weights[1], "b1": self._biases[1]}
        _save(path, nodes, self, width_out=10, parameters=parameters)

    def rows(self, count: int) -> Rows:
        return self._images[:count]

    def expected(self, rows: Rows) -> Rows:
        hidden = np.maximum(rows @ self._weights[0] + self._biases[0], 0)
        logits = hidden @ self._weights[1] + self._biases[1]
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def _save(
    path: Path,
    nodes: list[onnx.NodeProto],
    workload: Workload,
    *,
    width_out: int,
    parameters: dict[str, Rows] | None = None,
) -> None:
    graph = helper.make_graph(
        nodes,
        workload.name,
        [helper.make_tensor_value_info(workload.input_name, TensorProto.FLOAT, ["batch", workload.width])],
        [helper.make_tensor_value_info(workload.output_name, TensorProto.FLOAT, ["batch", width_out])],
        [numpy_helper.from_array(value, name) for name, value in (parameters or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
