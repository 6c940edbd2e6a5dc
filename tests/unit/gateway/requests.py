"""Versions and requests for unit tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tritonclient.grpc import service_pb2 as pb

from services.common.datatypes import DATATYPES
from services.gateway.domain.versions import ServedVersion, TensorSpec


def spec(name: str, datatype: str, *shape: int) -> TensorSpec:
    return TensorSpec(name, datatype, shape, DATATYPES[datatype].itemsize)


def served(
    *inputs: TensorSpec, outputs: Sequence[TensorSpec] = (), max_batch_size: int = 8, model: str = "m", **more: Any
) -> ServedVersion:
    """Version 1 of a model; by default with one input INPUT0 FP32 [-1, 4] and one output like it."""
    return ServedVersion(
        model=model,
        version=more.pop("version", "1"),
        platform="onnxruntime_onnx",
        backend="onnxruntime",
        inputs=inputs or (spec("INPUT0", "FP32", -1, 4),),
        outputs=tuple(outputs) or (spec("OUTPUT0", "FP32", -1, 4),),
        max_batch_size=max_batch_size,
        **more,
    )


def infer_request(*tensors: tuple[str, str, Sequence[int], bytes], model: str = "m", **more: Any) -> Any:
    """A request with raw tensors; by default one row of zeros for INPUT0."""
    request = pb.ModelInferRequest(model_name=model, **more)
    for name, datatype, shape, raw in tensors or (("INPUT0", "FP32", [1, 4], bytes(16)),):
        request.inputs.add(name=name, datatype=datatype, shape=shape)
        request.raw_input_contents.append(raw)
    return request


def infer_response(*tensors: tuple[str, str, np.ndarray[Any, Any] | bytes, Sequence[int]], **more: Any) -> bytes:
    response = pb.ModelInferResponse(model_name="m", model_version="1", **more)
    for name, datatype, data, shape in tensors:
        response.outputs.add(name=name, datatype=datatype, shape=shape)
        response.raw_output_contents.append(data if isinstance(data, bytes) else data.tobytes())
    raw: bytes = response.SerializeToString()
    return raw
