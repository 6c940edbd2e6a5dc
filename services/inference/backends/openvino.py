"""OpenVINO's intermediate representation (.xml, weights in the .bin beside it), by openvino on the CPU: data, no code.

It computes with FP32, unless the manifest's option ``precision`` is "bf16" or "f16": by itself the library takes what
is fastest on the processor. 64-bit numbers are computed with 32 bits; integers that don't fit are refused.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from services.inference.backends.backend import Array, Arrays, Backend, Placement
from services.inference.backends.errors import LoadError, RunError, public_message
from services.inference.backends.files import ModelFiles
from services.inference.domain.manifest import Manifest
from services.inference.domain.signature import Signature, TensorSpec, has_free_first_dimension

_NET = re.compile(rb"\s*(<\?xml[^>]*>\s*)?<net\s[^>]*\bversion=\"\d+\"")
_DATATYPES = {
    "boolean": "BOOL",
    "u8": "UINT8",
    "u16": "UINT16",
    "u32": "UINT32",
    "u64": "UINT64",
    "i8": "INT8",
    "i16": "INT16",
    "i32": "INT32",
    "i64": "INT64",
    "f16": "FP16",
    "f32": "FP32",
    "f64": "FP64",
    "bf16": "BF16",
}
_PRECISIONS = ("f32", "bf16", "f16")
_INT32 = np.iinfo(np.int32)


class OpenVino(Backend):
    format = "openvino"
    library = "openvino"

    def recognises(self, files: ModelFiles) -> bool:
        return bool(_main_file(files))

    def load(
        self, files: ModelFiles, manifest: Manifest, placement: Placement, _options: Mapping[str, str]
    ) -> OpenVinoModel:
        if placement.device.startswith("cuda"):
            raise LoadError(f"device {placement.device} was asked for, but openvino runs models on the CPU")
        precision = manifest.options.get("precision", "f32")
        if precision not in _PRECISIONS:
            raise LoadError(f"got the option precision={precision!r}, expected one of {', '.join(_PRECISIONS)}")
        return OpenVinoModel(files, precision, placement.threads)


def _library() -> Any:
    """The library, without the package by which it tells its maker that it was imported; it does without."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


def _main_file(files: ModelFiles) -> str:
    """The network's file; empty where there is none, or more than one."""
    candidates = [files.only] if files.only else [name for name in files.names if name.endswith(".xml")]
    found = [name for name in candidates if _NET.match(files.head(name, 1024))]
    return found[0] if len(found) == 1 else ""


class OpenVinoModel:
    """A compiled network."""

    device = "cpu"

    def __init__(self, files: ModelFiles, precision: str, threads: int) -> None:
        """Raises: LoadError: it is damaged, or has tensors of no data type of the protocol."""
        openvino = _library()
        name = _main_file(files)
        settings = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
        }
        try:
            # Core.read_model would try the file with the readers of all other formats, too.
            reader = openvino.frontend.FrontEndManager().load_by_framework("ir")
            network = reader.convert(reader.load(str(files.path(name))))
            compiled = openvino.Core().compile_model(network, "CPU", settings)
        except Exception as error:  # as onnxruntime, it has several classes, RuntimeError among them
            weights = PurePosixPath(name).with_suffix(".bin").as_posix()
            hint = "" if weights in files.names else f"; weights are expected in {weights}, which is not there"
            raise LoadError(f"openvino can't load the model: {_said(error)}{hint}") from error
        self._tensor = openvino.Tensor
        self._request = compiled.create_infer_request()
        self._has_state = bool(self._request.query_state())
        self._types = [port.element_type for port in compiled.inputs]
        inputs = tuple(_spec(port, "input") for port in compiled.inputs)
        outputs = tuple(_spec(port, "output") for port in compiled.outputs)
        is_batchable = not self._has_state and has_free_first_dimension((*inputs, *outputs))
        self.signature = Signature(inputs, outputs, is_batchable, _largest_batch(compiled) if is_batchable else 0)

    def run(self, inputs: Arrays) -> dict[str, Array]:
        if self._has_state:  # what one caller left there is none of the next one's business
            self._request.reset_state()
        arrays = [np.ascontiguousarray(inputs[spec.name]) for spec in self.signature.inputs]
        for spec, array in zip(self.signature.inputs, arrays, strict=True):
            _check_range(spec, array)
        try:
            for at, (array, kind) in enumerate(zip(arrays, self._types, strict=True)):
                self._request.set_input_tensor(at, self._tensor(array, array.shape, kind))
            self._request.infer()
        except RuntimeError as error:
            raise RunError(_said(error)) from error
        return {spec.name: self._output(at, spec) for at, spec in enumerate(self.signature.outputs)}

    def _output(self, at: int, spec: TensorSpec) -> Array:
        array = np.array(self._request.get_output_tensor(at).data)
        return array.view(np.uint16) if spec.datatype == "BF16" else array


def _spec(port: Any, role: str) -> TensorSpec:
    name = port.any_name if port.names else port.node.friendly_name
    kind = port.element_type.to_string()
    if kind not in _DATATYPES:
        raise LoadError(f"{role} {name!r} has the type {kind}: expected one of {', '.join(_DATATYPES)}")
    if port.partial_shape.rank.is_dynamic:
        raise LoadError(f"{role} {name!r} has any number of dimensions: expected a fixed number")
    shape = tuple(size.get_length() if size.is_static else -1 for size in port.partial_shape)
    return TensorSpec(name, _DATATYPES[kind], shape)


def _largest_batch(compiled: Any) -> int:
    limits = [port.partial_shape[0].get_max_length() for port in (*compiled.inputs, *compiled.outputs)]
    return min((limit for limit in limits if limit > 0), default=0)


def _check_range(spec: TensorSpec, array: Array) -> None:
    if spec.datatype in ("UINT32", "INT64", "UINT64") and array.size:
        low, high = int(array.min()), int(array.max())
        if low < _INT32.min or high > _INT32.max:
            raise RunError(
                f"input {spec.name!r} has {high if high > _INT32.max else low}, which openvino would cut to 32 bits: "
                f"expected {_INT32.min} to {_INT32.max}"
            )


def _said(error: Exception) -> str:
    """The last line: those before are places in openvino's sources."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return public_message(RuntimeError(lines[-1]) if lines else error)


BACKEND = OpenVino()
