"""TFLite files, by LiteRT (ai-edge-litert) on the CPU: data, no code. Operators of TensorFlow (Flex) are not served.

Of several signatures, the manifest's option ``signature`` says which one; without any, tensors have their own names.
Tensors that are quantised stay so: their datatype is INT8 or UINT8, and their scale is the caller's to know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from services.common.datatypes import DATATYPES
from services.inference.backends import named_signatures
from services.inference.backends.backend import Array, Arrays, Backend, Placement
from services.inference.backends.errors import LoadError, RunError, public_message
from services.inference.backends.files import ModelFiles
from services.inference.domain.manifest import Manifest
from services.inference.domain.signature import Signature, TensorSpec, has_free_first_dimension

_NAMES = {kind.dtype.name: name for name, kind in DATATYPES.items() if name not in ("BF16", "BYTES")} | {
    "bfloat16": "BF16",
    "bytes": "BYTES",
    "object": "BYTES",
}
Details = Mapping[str, Mapping[str, Any]]  # of tensors, by name


class LiteRt(Backend):
    format = "litert"
    library = "ai_edge_litert"

    def recognises(self, files: ModelFiles) -> bool:
        return bool(files.only) and files.head(files.only)[4:8] == b"TFL3"

    def load(
        self, files: ModelFiles, manifest: Manifest, placement: Placement, _options: Mapping[str, str]
    ) -> LiteRtModel:
        if placement.device.startswith("cuda"):
            raise LoadError(f"device {placement.device} was asked for, but LiteRT runs models on the CPU")
        return LiteRtModel(files, manifest, placement.threads)


class LiteRtModel:
    """A model in an interpreter, which takes one batch at a time."""

    device = "cpu"

    def __init__(self, files: ModelFiles, manifest: Manifest, threads: int) -> None:
        """Raises: LoadError: it is damaged, or needs operators that LiteRT lacks."""
        from ai_edge_litert.interpreter import Interpreter

        try:
            self._interpreter = Interpreter(model_path=str(files.path(files.only)), num_threads=threads)
            self._interpreter.allocate_tensors()
            inputs, outputs, self._call = self._function(manifest)
        except (ValueError, RuntimeError) as error:
            raise LoadError(f"LiteRT can't load the model: {public_message(error)}") from error
        takes = tuple(_spec(name, one, "input") for name, one in inputs.items())
        gives = tuple(_spec(name, one, "output") for name, one in outputs.items())
        self._kinds = {name: np.dtype(one["dtype"]) for name, one in inputs.items()}
        self.signature = Signature(takes, gives, has_free_first_dimension((*takes, *gives)))

    def run(self, inputs: Arrays) -> dict[str, Array]:
        arrays = {
            name: inputs[name].view(kind) if kind.name == "bfloat16" else inputs[name]
            for name, kind in self._kinds.items()
        }
        try:
            self._interpreter.reset_all_variables()  # what one caller left there is none of the next one's business
            outputs = self._call(arrays)
        except (ValueError, RuntimeError) as error:
            raise RunError(public_message(error)) from error
        return {spec.name: _given(outputs[spec.name]) for spec in self.signature.outputs}

    def _function(self, manifest: Manifest) -> tuple[Details, Details, Callable[[Arrays], Arrays]]:
        """Inputs, outputs, and what runs it."""
        interpreter = self._interpreter
        if keys := interpreter.get_signature_list():
            runner = interpreter.get_signature_runner(named_signatures.chosen(keys, manifest))
            return runner.get_input_details(), runner.get_output_details(), lambda arrays: runner(**arrays)
        inputs = {one["name"]: one for one in interpreter.get_input_details()}
        outputs = {one["name"]: one for one in interpreter.get_output_details()}
        return inputs, outputs, lambda arrays: self._invoke(arrays, inputs, outputs)

    def _invoke(self, arrays: Arrays, inputs: Details, outputs: Details) -> Arrays:
        for name, array in arrays.items():
            self._interpreter.resize_tensor_input(inputs[name]["index"], array.shape, strict=True)
        self._interpreter.allocate_tensors()
        for name, array in arrays.items():
            self._interpreter.set_tensor(inputs[name]["index"], array)
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(one["index"]) for name, one in outputs.items()}


def _spec(name: str, details: Mapping[str, Any], role: str) -> TensorSpec:
    kind = np.dtype(details["dtype"]).name
    if kind not in _NAMES:
        raise LoadError(f"{role} {name!r} has the type {kind}: expected one of {', '.join(_NAMES)}")
    sizes = details["shape_signature"] if len(details["shape_signature"]) else details["shape"]
    return TensorSpec(name, _NAMES[kind], tuple(map(int, sizes)))


def _given(array: Any) -> Array:
    array = np.asarray(array)
    if array.dtype.kind == "S":
        return array.astype(object)
    return array.view(np.uint16) if array.dtype.name == "bfloat16" else array


BACKEND = LiteRt()
