"""Keras 3 models (.keras) and HDF5 (.h5), by keras on TensorFlow, on the CPU.

One that is made of Keras' own layers, but for those that run code or read files, is data. Others are code; Lambda
layers are unmarshalled for somebody's trust only, and custom classes are not served: nobody brings them along.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from services.inference.backends import keras_config, keras_file
from services.inference.backends.backend import Array, Arrays, Backend, Placement
from services.inference.backends.errors import LoadError, RunError, public_message
from services.inference.backends.files import ModelFiles
from services.inference.backends.tensorflow import from_tensor, prepare, spec_of, to_tensor
from services.inference.domain.manifest import Manifest
from services.inference.domain.signature import Signature, has_free_first_dimension

_SHOWN = 5


class Keras(Backend):
    format = "keras"
    library = "tensorflow"  # which brings Keras along

    def recognises(self, files: ModelFiles) -> bool:
        return bool(files.only) and (files.head(files.only).startswith(keras_file.HDF5) or keras_file.is_archive(files))

    def danger(self, files: ModelFiles) -> str:
        """Raises: LoadError: it is damaged, or reaches outside."""
        try:
            found = keras_config.strangers(keras_file.config_of(files))
        except ValueError as error:
            raise LoadError(f"{files.only} is damaged: {error}") from error
        if keras_file.has_assets(files):
            found = [*found, "files of its own"]
        shown = ", ".join(found[:_SHOWN]) + (", …" if len(found) > _SHOWN else "")
        return f"has parts that may run code or read files ({shown})" if found else ""

    def load(
        self, files: ModelFiles, _manifest: Manifest, placement: Placement, _options: Mapping[str, str]
    ) -> KerasModel:
        if placement.device.startswith("cuda"):
            raise LoadError(f"device {placement.device} was asked for, but Keras models run on the CPU")
        # The caller has seen to it that somebody vouches for what is no data.
        return KerasModel(files, is_data=not self.danger(files), threads=placement.threads)


class KerasModel:
    """A model as one function of TensorFlow."""

    device = "cpu"

    def __init__(self, files: ModelFiles, *, is_data: bool, threads: int) -> None:
        """Raises: LoadError: it can't be loaded, or doesn't say what it takes."""
        import keras
        import tensorflow

        prepare(threads)
        if keras.backend.backend() != "tensorflow":
            raise LoadError(f"Keras is set to compute with {keras.backend.backend()}, expected tensorflow")
        try:
            self._model = _functional(_loaded(files, is_data=is_data))
            inputs, outputs = _named(self._model.input), _named(self._model.output)
        except LoadError:
            raise
        except Exception as error:  # whatever a foreign configuration provokes
            raise LoadError(f"Keras can't load the model: {public_message(error)}") from error
        if sparse := [name for name, tensor in inputs.items() if tensor.sparse]:
            raise LoadError(f"input {sparse[0]!r} is sparse: expected a dense tensor")
        given, taken = _dense(outputs), _dense(inputs)
        self._takes = {name: tensor.dtype for name, tensor in taken.items()}
        takes = tuple(spec_of(name, tensor, "input") for name, tensor in taken.items())
        gives = tuple(spec_of(name, tensor, "output") for name, tensor in given.items())
        self.signature = Signature(takes, gives, has_free_first_dimension((*takes, *gives)))
        self._call = tensorflow.function(self._flat, input_signature=list(taken.values()))

    def run(self, inputs: Arrays) -> dict[str, Array]:
        import tensorflow

        try:
            outputs = self._call(*(to_tensor(inputs[name], kind) for name, kind in self._takes.items()))
        except (tensorflow.errors.OpError, ValueError, TypeError) as error:
            raise RunError(public_message(error)) from error
        return {spec.name: from_tensor(output) for spec, output in zip(self.signature.outputs, outputs, strict=True)}

    def _flat(self, *tensors: Any) -> list[Any]:
        from keras import tree

        return list(tree.flatten(self._model(tree.pack_sequence_as(self._model.input, tensors), training=False)))


def _loaded(files: ModelFiles, *, is_data: bool) -> Any:
    """Keras goes by the suffix."""
    import keras

    suffix = ".keras" if keras_file.is_archive(files) else ".h5"
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder, f"model{suffix}")
        link.symlink_to(files.path(files.only).resolve())
        return keras.saving.load_model(link, compile=False, safe_mode=is_data)


def _functional(model: Any) -> Any:
    """The same with inputs and outputs that can be asked for.

    Raises:
        LoadError: it has none.
    """
    import keras

    try:
        return keras.Model(model.inputs, model.outputs) if isinstance(model, keras.Sequential) else model
    except AttributeError:
        raise LoadError("the model doesn't say what it takes: expected one that begins with keras.Input") from None


def _named(tensors: Any) -> dict[str, Any]:
    """Each tensor with a name of its own: its key where they are a mapping, else its layer's, numbered if need be."""
    from keras import tree

    found = dict[str, Any]()
    for path, tensor in tree.flatten_with_path(tensors):
        # The latter as Model.output_names does.
        name = "_".join(map(str, path)) if isinstance(tensors, dict) else tensor._keras_history.operation.name  # noqa: SLF001
        others = (f"{name}_{number}" for number in itertools.count(1))
        found[next(one for one in itertools.chain([name], others) if one not in found)] = tensor
    return found


def _dense(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """What they are to TensorFlow."""
    import tensorflow

    return {name: tensorflow.TensorSpec(tensor.shape, tensor.dtype) for name, tensor in tensors.items()}


BACKEND = Keras()
