"""Small TFLite models, made with the format's own schema: no converter is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from tests.support.models import digits

Shape = list[int]


class Graph:
    """A model of one subgraph, put together tensor by tensor. Dimensions of -1 are free; they are 1 until resized."""

    def __init__(self) -> None:
        self._model = schema.ModelT()
        self._model.version = 3
        self._model.operatorCodes, self._model.buffers = [], [schema.BufferT()]
        self._graph = schema.SubGraphT()
        self._graph.tensors, self._graph.operators = [], []
        self._model.subgraphs = [self._graph]

    def tensor(self, name: str, shape: Shape, kind: int, content: NDArray[Any] | None = None) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.type = name.encode(), kind
        tensor.shape, tensor.shapeSignature = [max(1, size) for size in shape], shape
        tensor.hasRank = True
        if content is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(content.tobytes(), np.uint8)
            tensor.buffer = len(self._model.buffers)
            self._model.buffers.append(buffer)
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def operator(
        self, code: int, inputs: list[int], outputs: list[int], options: Any = None, *, custom: str = ""
    ) -> None:
        kind = schema.OperatorCodeT()
        kind.builtinCode, kind.deprecatedBuiltinCode, kind.version = code, min(code, 127), 1
        kind.customCode = custom.encode() or None
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = len(self._model.operatorCodes), inputs, outputs
        if options is not None:
            operator.builtinOptions = options
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__[:-1])
        self._model.operatorCodes.append(kind)
        self._graph.operators.append(operator)

    def keep(
        self,
        path: Path,
        inputs: dict[str, int],
        outputs: dict[str, int],
        *,
        signatures: tuple[str, ...] = ("serving_default",),
    ) -> Path:
        self._graph.inputs, self._graph.outputs = list(inputs.values()), list(outputs.values())
        self._model.signatureDefs = [_signature(name, inputs, outputs) for name in signatures]
        builder = flatbuffers.Builder(1024)
        builder.Finish(self._model.Pack(builder), b"TFL3")
        path.write_bytes(builder.Output())
        return path


def _signature(key: str, inputs: dict[str, int], outputs: dict[str, int]) -> Any:
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = key.encode(), 0
    signature.inputs, signature.outputs = _maps(inputs), _maps(outputs)
    return signature


def _maps(tensors: dict[str, int]) -> list[Any]:
    found = []
    for name, index in tensors.items():
        one = schema.TensorMapT()
        one.name, one.tensorIndex = name.encode(), index
        found.append(one)
    return found


def digits_tflite(path: Path, *, signatures: tuple[str, ...] = ("serving_default",)) -> Path:
    """image FP32 [-1, 64] → probabilities FP32 [-1, 10] of :func:`tests.support.models.digits`."""
    weights, graph, kind = digits(), Graph(), schema.TensorType.FLOAT32
    image = graph.tensor("image", [-1, 64], kind)
    matrix = graph.tensor("weights", [10, 64], kind, np.ascontiguousarray(weights.weights.T))
    bias = graph.tensor("bias", [10], kind, weights.bias)
    logits, output = graph.tensor("logits", [-1, 10], kind), graph.tensor("probabilities", [-1, 10], kind)
    graph.operator(
        schema.BuiltinOperator.FULLY_CONNECTED, [image, matrix, bias], [logits], schema.FullyConnectedOptionsT()
    )
    softmax = schema.SoftmaxOptionsT()
    softmax.beta = 1.0
    graph.operator(schema.BuiltinOperator.SOFTMAX, [logits], [output], softmax)
    return graph.keep(path, {"image": image}, {"probabilities": output}, signatures=signatures)


def same_tflite(path: Path, kind: int) -> Path:
    """x [-1, 2] → y, the same."""
    graph = Graph()
    x, y = graph.tensor("x", [-1, 2], kind), graph.tensor("y", [-1, 2], kind)
    shape = graph.tensor("shape", [2], schema.TensorType.INT32, np.array([-1, 2], np.int32))
    graph.operator(schema.BuiltinOperator.RESHAPE, [x, shape], [y], schema.ReshapeOptionsT())
    return graph.keep(path, {"x": x}, {"y": y})
