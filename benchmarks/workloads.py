"""The models that are measured, real inputs for each, and what the right answers are."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from benchmarks.models import bench_models

Rows = NDArray[np.float32]


class Workload(ABC):
    """A model with one FP32 input input0 and one output output0, asked for one row at a time."""

    name: str
    title: str
    concurrencies: tuple[int, ...] = (1, 16, 64)
    suffix = ".onnx"
    is_echoed = False
    input_name = "input0"
    output_name = "output0"

    def __init__(self) -> None:
        self.shape, self.shape_out = bench_models.SHAPES[self.name]

    def named(self, name: str) -> Self:
        """The same model under another name."""
        other = copy.copy(self)
        other.name = name
        return other

    def echoed(self) -> Self:
        """The same requests, to a server that gives back what it gets."""
        other = copy.copy(self)
        other.is_echoed = True
        return other

    def answers(self, rows: Rows) -> Rows:
        """What is to come back."""
        return rows if self.is_echoed else self.expected(rows)

    @abstractmethod
    def save(self, path: Path) -> None:
        """Write the model as a file for Penstock."""

    @abstractmethod
    def expected(self, rows: Rows) -> Rows:
        """The right outputs, by calling the model directly."""

    def rows(self, count: int) -> Rows:
        """Inputs, the same at every call."""
        return np.random.default_rng(0).normal(size=(count, *self.shape)).astype(np.float32)


class Identity(Workload):
    """Gives back what it gets: whatever a request costs, the suite costs."""

    name, title = "bench-identity", "identity, FP32 [1, 16]"

    def save(self, path: Path) -> None:
        _save(path, self, [helper.make_node("Identity", [self.input_name], [self.output_name])])

    def expected(self, rows: Rows) -> Rows:
        return rows


class Mebibyte(Identity):
    """A MiB each way."""

    name, title, concurrencies = "bench-1mib", "identity, 1 MiB each way, FP32 [1, 262144]", (4,)


class Digits(Workload):
    """A multilayer perceptron (64 → 128 → 10) that classifies scikit-learn's digits, trained on the spot."""

    name, title = "bench-digits", "digits MLP, FP32 [1, 64]"

    def __init__(self) -> None:
        from sklearn.datasets import load_digits
        from sklearn.neural_network import MLPClassifier

        super().__init__()
        data = load_digits()
        self._images = (data.data / 16).astype(np.float32)
        fitted = MLPClassifier((128,), random_state=0, tol=1e-3, n_iter_no_change=3).fit(self._images, data.target)
        (w0, w1), (b0, b1) = fitted.coefs_, fitted.intercepts_
        self._weights = {"w0": w0, "b0": b0, "w1": w1, "b1": b1}
        self._weights = {name: array.astype(np.float32) for name, array in self._weights.items()}

    def save(self, path: Path) -> None:
        nodes = [
            helper.make_node("Gemm", [self.input_name, "w0", "b0"], ["h0"]),
            helper.make_node("Relu", ["h0"], ["h1"]),
            helper.make_node("Gemm", ["h1", "w1", "b1"], ["h2"]),
            helper.make_node("Softmax", ["h2"], [self.output_name], axis=-1),
        ]
        _save(path, self, nodes, self._weights)

    def save_weights(self, path: Path) -> None:
        """Write them for :func:`bench_models.digits`."""
        np.savez(path, **self._weights)

    def rows(self, count: int) -> Rows:
        return self._images[:count]

    def expected(self, rows: Rows) -> Rows:
        w0, b0, w1, b1 = (self._weights[name] for name in ("w0", "b0", "w1", "b1"))
        logits = np.maximum(rows @ w0 + b0, 0) @ w1 + b1
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


class Cnn(Workload):
    """A residual network of ResNet-18's shape with random weights, as ``torch.export`` saves it."""

    name, title, suffix = "bench-cnn", "CNN of ResNet-18's shape, FP32 [1, 3, 64, 64]", ".pt2"

    @cached_property
    def network(self) -> Any:
        return bench_models.cnn()

    def save(self, path: Path) -> None:
        import torch

        class Named(torch.nn.Module):
            def __init__(self, network: Any) -> None:
                super().__init__()
                self.network = network

            def forward(self, input0: Any) -> dict[str, Any]:
                return {"output0": self.network(input0)}

        batch = torch.export.Dim("batch", min=1, max=1_024)
        example = (torch.zeros(2, *self.shape),)
        program = torch.export.export(Named(self.network).eval(), example, dynamic_shapes=({0: batch},))
        torch.export.save(program, path)

    def expected(self, rows: Rows) -> Rows:
        return bench_models.eager(self.network)(rows)


WORKLOADS: dict[str, type[Workload]] = {"identity": Identity, "digits": Digits, "cnn": Cnn, "1mib": Mebibyte}


def _save(
    path: Path, workload: Workload, nodes: list[onnx.NodeProto], parameters: dict[str, Rows] | None = None
) -> None:
    graph = helper.make_graph(
        nodes,
        workload.name,
        [helper.make_tensor_value_info(workload.input_name, TensorProto.FLOAT, ["batch", *workload.shape])],
        [helper.make_tensor_value_info(workload.output_name, TensorProto.FLOAT, ["batch", *workload.shape_out])],
        [numpy_helper.from_array(value, name) for name, value in (parameters or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
