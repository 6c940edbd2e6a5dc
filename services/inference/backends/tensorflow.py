"""TensorFlow's SavedModels (a folder with ``saved_model.pb``), on the CPU.

One whose graph only computes is data; one that reads files, calls Python or saves itself is code. Of several
signatures, the manifest's option ``signature`` says which one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from services.common.datatypes import DATATYPES
from services.inference.backends import named_signatures
from services.inference.backends.backend import Array, Arrays, Backend, Placement
from services.inference.backends.errors import LoadError, RunError, public_message
from services.inference.backends.files import ModelFiles
from services.inference.backends.tensorflow_graph import strangers
from services.inference.domain.manifest import Manifest
from services.inference.domain.signature import Signature, TensorSpec, has_free_first_dimension

_NAME = "saved_model.pb"
_OTHER_NAMES = ("saved_model.cpb", "saved_model.pbtxt")
"""The loader prefers the first of these; nobody would have looked into it."""
_BEGINNING = b"\x08\x01\x12"  # the schema's version, which is 1, and a graph
_NAMES = {kind.dtype.name: name for name, kind in DATATYPES.items() if name not in ("BF16", "BYTES")} | {
    "bfloat16": "BF16",
    "string": "BYTES",
}
_SHOWN = 5


class TensorFlow(Backend):
    format = "tensorflow"
    library = "tensorflow"

    def recognises(self, files: ModelFiles) -> bool:
        return bool(_main_file(files))

    def danger(self, files: ModelFiles) -> str:
        """Raises: LoadError: it can't be read."""
        from google.protobuf.message import DecodeError
        from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

        try:
            found = strangers(SavedModel.FromString(files.path(_main_file(files)).read_bytes()))
        except DecodeError as error:
            raise LoadError(f"{_NAME} is damaged: {public_message(error)}") from error
        shown = ", ".join(found[:_SHOWN]) + (", …" if len(found) > _SHOWN else "")
        return f"has operators that may do more than compute ({shown})" if found else ""

    def load(
        self, files: ModelFiles, manifest: Manifest, placement: Placement, _options: Mapping[str, str]
    ) -> TensorFlowModel:
        if placement.device.startswith("cuda"):
            raise LoadError(f"device {placement.device} was asked for, but SavedModels run on the CPU")
        return TensorFlowModel(files, manifest, placement.threads)


def _main_file(files: ModelFiles) -> str:
    """The graph's file; empty where there is none, or more than one.

    Raises:
        LoadError: there are two forms of it, or another one.
    """
    places = [PurePosixPath(name) for name in files.names]
    if others := [place for place in places if place.name in _OTHER_NAMES]:
        raise LoadError(f"got a SavedModel as {others[0].name}, expected {_NAME} and nothing beside it")
    found = [str(place) for place in places if place.name == _NAME]
    is_one = not files.only and len(found) == 1 and files.head(found[0]).startswith(_BEGINNING)
    return found[0] if is_one else ""


class TensorFlowModel:
    """A signature of a SavedModel."""

    device = "cpu"

    def __init__(self, files: ModelFiles, manifest: Manifest, threads: int) -> None:
        """Raises: LoadError: it is damaged, or has tensors of no data type of the protocol."""
        import tensorflow

        prepare(threads)
        try:
            loaded = tensorflow.saved_model.load(str(files.path(_main_file(files)).parent))
        except Exception as error:  # whatever a foreign graph provokes
            raise LoadError(f"TensorFlow can't load the model: {public_message(error)}") from error
        self._loaded = loaded  # its variables live as long as it
        self._function = loaded.signatures[named_signatures.chosen(tuple(loaded.signatures), manifest)]
        takes, gives = self._function.structured_input_signature[1], self._function.structured_outputs
        self._inputs = {name: given.dtype for name, given in takes.items()}
        inputs = tuple(spec_of(name, one, "input") for name, one in takes.items())
        outputs = tuple(spec_of(name, one, "output") for name, one in gives.items())
        self.signature = Signature(inputs, outputs, has_free_first_dimension((*inputs, *outputs)))

    def run(self, inputs: Arrays) -> dict[str, Array]:
        import tensorflow

        try:
            given = {name: to_tensor(inputs[name], kind) for name, kind in self._inputs.items()}
            outputs = self._function(**given)
        except (tensorflow.errors.OpError, ValueError, TypeError) as error:
            raise RunError(public_message(error)) from error
        return {spec.name: from_tensor(outputs[spec.name]) for spec in self.signature.outputs}


def prepare(threads: int) -> None:
    """Let TensorFlow use so many threads, and no GPU; the first call in a process decides."""
    import tensorflow

    with contextlib.suppress(RuntimeError):
        tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
        tensorflow.config.threading.set_inter_op_parallelism_threads(1)
        tensorflow.config.set_visible_devices([], "GPU")


def spec_of(name: str, tensor: Any, role: str) -> TensorSpec:
    """What a symbolic tensor is.

    Raises:
        LoadError: the protocol has no such tensor.
    """
    if tensor.dtype.name not in _NAMES:
        raise LoadError(f"{role} {name!r} has the type {tensor.dtype.name}: expected one of {', '.join(_NAMES)}")
    if tensor.shape.rank is None:
        raise LoadError(f"{role} {name!r} has any number of dimensions: expected a fixed number")
    return TensorSpec(name, _NAMES[tensor.dtype.name], tuple(-1 if size is None else size for size in tensor.shape))


def to_tensor(array: Array, kind: Any) -> Any:
    """An array of ours as a tensor of TensorFlow's type."""
    import tensorflow

    return tensorflow.constant(array.view(kind.as_numpy_dtype) if kind.name == "bfloat16" else array, kind)


def from_tensor(tensor: Any) -> Array:
    """A tensor as an array of ours."""
    array = np.asarray(tensor.numpy())
    if tensor.dtype.name == "string":
        return array.astype(object)
    return array.view(np.uint16) if tensor.dtype.name == "bfloat16" else array


BACKEND = TensorFlow()
