"""ONNX, by onnxruntime."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Collection, Mapping
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from services.inference.backends.backend import Array, Arrays, Backend, Model, Placement
from services.inference.backends.errors import LoadError, RunError, public_message
from services.inference.backends.files import ModelFiles
from services.inference.backends.onnx_file import MalformedProtoError, facts_of
from services.inference.backends.texts import texts_of
from services.inference.domain.manifest import Manifest
from services.inference.domain.signature import Signature, TensorSpec, has_free_first_dimension
from services.inference.domain.variants import Level

_DATATYPES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(bfloat16)": "BF16",
    "tensor(string)": "BYTES",
}
_ONNX_BFLOAT16 = 16
_CPU = "CPUExecutionProvider"
_PROVIDERS = {"cpu": _CPU, "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
"""By the name that a manifest's option "provider" has."""


class Onnx(Backend):
    format = "onnx"
    library = "onnxruntime"

    def recognises(self, files: ModelFiles) -> bool:
        return bool(_main_file(files))

    def load(
        self, files: ModelFiles, manifest: Manifest, placement: Placement, options: Mapping[str, str]
    ) -> OnnxModel:
        """Weights may lie in other files, as long as these are the model's own; custom operators don't resolve."""
        import onnxruntime

        path = files.path(_main_file(files))
        _check_locations(facts_of(path).locations, files)
        providers = _providers(manifest, placement, onnxruntime.get_available_providers())
        session_options = _session_options(placement, options)
        if _choice(manifest, "prepacking", ("on", "off")) == "off":
            session_options.add_session_config_entry("session.disable_prepacking", "1")
        try:
            session = onnxruntime.InferenceSession(str(path), session_options, providers=providers)
        except Exception as error:  # onnxruntime raises a class of its own for every kind of failure
            raise LoadError(f"onnxruntime can't load the model: {public_message(error)}") from error
        if "provider" in manifest.options and session.get_providers()[0] != providers[0]:
            raise LoadError(f"onnxruntime can't use {providers[0]} here, which the manifest asks for")
        return OnnxModel(session)

    def variants(self, _files: ModelFiles, model: Model, level: Level) -> list[dict[str, str]]:
        """The original has every graph optimisation; some graphs are faster with fewer."""
        fast = [{"denormals": "zero"}, {"graph": "extended"}, {"memory_pattern": "off"}]
        full = [{"graph": "basic"}, {"memory_arena": "off"}, {"graph": "extended", "denormals": "zero"}]
        if model.device != "cpu":
            return []
        return fast if level is Level.FAST else fast + full


def _choice(manifest: Manifest, name: str, values: Collection[str]) -> str:
    """What the manifest says of an option; empty where it doesn't.

    Raises:
        LoadError: it says something else, or of another option.
    """
    if strangers := manifest.options.keys() - {"provider", "prepacking"}:
        raise LoadError(f"got the option {min(strangers)!r}, expected provider or prepacking")
    chosen = manifest.options.get(name, "")
    if chosen and chosen not in values:
        raise LoadError(f"got the {name} {chosen!r}, expected one of {', '.join(values)}")
    return chosen


def _providers(manifest: Manifest, placement: Placement, there: Collection[str]) -> list[str]:
    """What is to run the model, the first choice first.

    Raises:
        LoadError: it isn't there.
    """
    wanted = _choice(manifest, "provider", _PROVIDERS)
    if not wanted:
        has_gpu = placement.device.startswith("cuda") or (placement.device == "auto" and _PROVIDERS["cuda"] in there)
        wanted = "cuda" if has_gpu else "cpu"
    elif wanted != "cpu" and placement.device == "cpu":
        raise LoadError(f"the manifest asks for {wanted}, and this node runs models on the CPU")
    if _PROVIDERS[wanted] not in there:
        raise LoadError(f"{wanted} was asked for, but this onnxruntime has {', '.join(there)} only")
    return list(dict.fromkeys([_PROVIDERS[wanted], *([_PROVIDERS["cuda"]] if wanted == "tensorrt" else []), _CPU]))


def _main_file(files: ModelFiles) -> str:
    """The graph's file; empty where there is none, or more than one."""
    if name := files.main(".onnx"):
        with contextlib.suppress(MalformedProtoError):
            facts_of(files.path(name))
            return name
    return ""


def _check_locations(locations: Collection[str], files: ModelFiles) -> None:
    """Raises: LoadError: weights are to be read from elsewhere, or are missing."""
    folder = PurePosixPath(_main_file(files)).parent
    for location in sorted(locations):
        if str(folder / location) not in files.names or ".." in PurePosixPath(location).parts:
            raise LoadError(
                f"the model keeps weights in {location!r} (ONNX external data), which is not among its files: "
                f"expected one of {', '.join(files.names)}"
            )


def _session_options(placement: Placement, wanted: Mapping[str, str]) -> Any:
    from onnxruntime import GraphOptimizationLevel, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = placement.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # Threads that spin between batches would take the processor from the other processes of the node.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    for choice in wanted.items():
        match choice:
            case ("graph", "basic"):
                options.graph_optimization_level = GraphOptimizationLevel.ORT_ENABLE_BASIC
            case ("graph", "extended"):
                options.graph_optimization_level = GraphOptimizationLevel.ORT_ENABLE_EXTENDED
            case ("denormals", "zero"):
                options.add_session_config_entry("session.set_denormal_as_zero", "1")
            case ("memory_pattern", "off"):
                options.enable_mem_pattern = False
            case ("memory_arena", "off"):
                options.enable_cpu_mem_arena = False
            case (name, value):
                raise LoadError(f"got {name}={value}, expected an option of this release")
    return options


class OnnxModel:
    """A model in an onnxruntime session."""

    def __init__(self, session: Any) -> None:
        self._session = session
        inputs = tuple(_spec(one, "input") for one in session.get_inputs())
        outputs = tuple(_spec(one, "output") for one in session.get_outputs())
        self.signature = Signature(inputs, outputs, is_batchable=has_free_first_dimension((*inputs, *outputs)))
        # The session may have fallen back to the CPU: say what it does, not what was asked.
        self.device = "cpu" if session.get_providers()[0] == _CPU else "cuda:0"
        self._output_names = [one.name for one in outputs]
        self._text_inputs = frozenset(one.name for one in inputs if one.datatype == "BYTES")
        self._has_bfloat16 = any(one.datatype == "BF16" for one in (*inputs, *outputs))

    def run(self, inputs: Arrays) -> dict[str, Array]:
        if self._text_inputs:
            # Strings are UTF-8 in onnxruntime; bytes given as they are would arrive as their Python repr.
            inputs = {name: texts_of(name, one) if name in self._text_inputs else one for name, one in inputs.items()}
        try:
            if self._has_bfloat16:
                return self._run_with_bfloat16(inputs)
            outputs = self._session.run(self._output_names, inputs)
        except Exception as error:  # as above
            raise RunError(public_message(error)) from error
        return {name: _as_bytes(output) for name, output in zip(self._output_names, outputs, strict=True)}

    def _run_with_bfloat16(self, inputs: Arrays) -> dict[str, Array]:
        """Numpy has no bfloat16: such tensors go in and come out as their 16-bit patterns."""
        from onnxruntime import OrtValue

        kinds = {spec.name: spec.datatype for spec in self.signature.inputs}
        feeds = {
            name: OrtValue.ortvalue_from_numpy_with_onnx_type(np.ascontiguousarray(array), _ONNX_BFLOAT16)
            if kinds[name] == "BF16"
            else OrtValue.ortvalue_from_numpy(array)
            for name, array in inputs.items()
        }
        outputs = self._session.run_with_ort_values(self._output_names, feeds)
        return {name: _from_ort(output) for name, output in zip(self._output_names, outputs, strict=True)}


def _from_ort(value: Any) -> Array:
    if value.data_type() != "tensor(bfloat16)":
        return _as_bytes(value.numpy())
    shape = value.shape()
    size = 2 * int(np.prod(shape))
    return np.frombuffer(ctypes.string_at(value.data_ptr(), size), np.uint16).reshape(shape)


def _spec(node: Any, role: str) -> TensorSpec:
    if node.type not in _DATATYPES:
        raise LoadError(f"{role} {node.name!r} has the type {node.type}: expected a tensor of {', '.join(_DATATYPES)}")
    shape = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in node.shape)
    return TensorSpec(node.name, _DATATYPES[node.type], shape)


def _as_bytes(array: Any) -> Array:
    array = np.asarray(array)
    if array.dtype.kind not in "OU":
        return array
    return np.array([str(element).encode() for element in array.ravel()], dtype=object).reshape(array.shape)


BACKEND = Onnx()
