"""Models written in Python: a folder with ``model.py``, which has a class ``Model``.

.. code-block:: python

    class Model:
        def load(self, folder: Path, options: Mapping[str, str]) -> None: ...
        def infer(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]: ...
        def unload(self) -> None: ...  # may be left out

``load`` is called once, in the process that serves, with the model's own folder and the manifest's options; ``infer``
with a whole batch, whose rows the first dimension of each array counts. A ValueError says that the input is wrong: its
text goes to the caller, with INVALID_ARGUMENT.
Where ``infer`` is a generator function, the model is decoupled: it gets one request at a time, and each dictionary that
it yields is a response. The generator is closed when nobody waits any more.
The manifest says all of what the model takes and gives. What it imports is listed in ``requirements.txt``: the node
must have it.
"""

from __future__ import annotations

import atexit
import importlib.util
import inspect
import logging
import re
import sys
from collections.abc import Generator, Mapping
from dataclasses import replace
from importlib import metadata
from types import ModuleType
from typing import Any

import numpy as np

from services.common.datatypes import datatype
from services.inference.backends.backend import Array, Arrays, Backend, Placement
from services.inference.backends.errors import LoadError, RefusedError, RunError, public_message
from services.inference.backends.files import ModelFiles
from services.inference.backends.streams import Responses
from services.inference.domain.manifest import Manifest
from services.inference.domain.signature import Signature, TensorSpec, has_free_first_dimension

_log = logging.getLogger(__name__)

_CODE, _REQUIREMENTS = "model.py", "requirements.txt"
_MODULE = "model_of_version"


class Python(Backend):
    format = "python"
    library = "numpy"
    is_code = True

    def recognises(self, files: ModelFiles) -> bool:
        return _CODE in files.names

    def danger(self, _files: ModelFiles) -> str:
        return "is code"

    def load(
        self, files: ModelFiles, manifest: Manifest, _placement: Placement, _options: Mapping[str, str]
    ) -> PythonModel:
        _check_requirements(files)
        module = _imported(files)
        return (DecoupledPythonModel if _is_decoupled(module) else PythonModel)(files, manifest, module)


class PythonModel:
    """An object of the author's class."""

    device = "cpu"

    def __init__(self, files: ModelFiles, manifest: Manifest, module: ModuleType) -> None:
        if not (manifest.inputs and manifest.outputs):
            raise LoadError("a model in Python needs a manifest that describes its inputs and outputs")
        if vague := next((one for one in (*manifest.inputs, *manifest.outputs) if not one.datatype), None):
            raise LoadError(f"the manifest doesn't say of which datatype {vague.name!r} is")
        tensors = (*manifest.inputs, *manifest.outputs)
        self.signature = Signature(manifest.inputs, manifest.outputs, has_free_first_dimension(tensors))
        self._model = _made(module)
        try:
            self._model.load(files.root, dict(manifest.options))
        except Exception as error:  # whatever the author's code does
            raise LoadError(f"Model.load failed: {type(error).__name__}: {public_message(error)}") from error
        if hasattr(self._model, "unload"):
            atexit.register(self._model.unload)

    def run(self, inputs: Arrays) -> dict[str, Array]:
        try:
            outputs = self._model.infer(dict(inputs))
        except Exception as error:
            raise _failure(error) from error
        return self._outputs(outputs)

    def _outputs(self, given: Any) -> dict[str, Array]:
        return {spec.name: _checked(given, spec.name, spec.datatype) for spec in self.signature.outputs}


class DecoupledPythonModel(PythonModel):
    """One whose ``infer`` yields the outputs of one response after the other."""

    def __init__(self, files: ModelFiles, manifest: Manifest, module: ModuleType) -> None:
        super().__init__(files, manifest, module)
        self.signature = replace(self.signature, is_batchable=False, is_decoupled=True)

    def run(self, _inputs: Arrays) -> dict[str, Array]:
        raise RunError("the model answers with streams")

    def stream(self, inputs: Arrays) -> Responses:
        responses: Generator[Any] = self._model.infer(dict(inputs))
        number = 0
        try:
            while True:
                try:
                    given = next(responses)
                except StopIteration:
                    return
                except Exception as error:
                    raise _failure(error) from error
                number += 1
                try:
                    outputs = self._outputs(given)
                    for spec in self.signature.outputs:
                        _check_shape(outputs[spec.name], spec)
                except RunError as error:
                    raise RunError(f"response {number}: {error}") from error
                yield outputs
        finally:
            _close(responses)


def _failure(error: Exception) -> RunError:
    """What a caller is told of what the author's code raised."""
    if isinstance(error, ValueError):
        return RefusedError(public_message(error))
    return RunError(f"the model failed: {type(error).__name__}: {public_message(error)}")


def _close(responses: Generator[Any]) -> None:
    try:
        responses.close()
    except Exception:  # noqa: BLE001 - whatever the author's code does, nobody waits for its responses any more
        _log.exception("the model failed as its generator was closed")


def _checked(outputs: Any, name: str, kind: str) -> Array:
    if not isinstance(outputs, Mapping) or name not in outputs:
        raise RunError(f"the model gave {_described(outputs)}, expected an array by the name {name!r}")
    array, wanted = np.asarray(outputs[name]), datatype(kind).dtype
    if array.dtype != wanted:
        raise RunError(f"the model gave {array.dtype} for {name!r}, expected {wanted} ({kind})")
    return array


def _check_shape(array: Array, spec: TensorSpec) -> None:
    if array.ndim != len(spec.shape) or any(
        want not in (-1, got) for got, want in zip(array.shape, spec.shape, strict=True)
    ):
        raise RunError(f"the model gave {spec.name!r} the shape {list(array.shape)}, expected {list(spec.shape)}")


def _described(outputs: Any) -> str:
    return f"the outputs {sorted(map(str, outputs))}" if isinstance(outputs, Mapping) else f"a {type(outputs).__name__}"


def _imported(files: ModelFiles) -> ModuleType:
    """The author's module, whose folder is where it imports from first."""
    sys.path.insert(0, str(files.root))
    sys.dont_write_bytecode = True  # the folder's content is what its digest says
    spec = importlib.util.spec_from_file_location(_MODULE, files.path(_CODE))
    if spec is None or spec.loader is None:
        raise LoadError(f"{_CODE} can't be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[_MODULE] = module  # as dataclasses and pickles of its own expect
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the author's code does
        raise LoadError(f"{_CODE} can't be imported: {type(error).__name__}: {public_message(error)}") from error
    return module


def _is_decoupled(module: ModuleType) -> bool:
    """Raises: LoadError: ``infer`` is asynchronous."""
    infer = getattr(getattr(module, "Model", None), "infer", None)
    if inspect.iscoroutinefunction(infer) or inspect.isasyncgenfunction(infer):
        raise LoadError("Model.infer is asynchronous, expected a function or a generator function")
    return inspect.isgeneratorfunction(infer)


def _made(module: ModuleType) -> Any:
    model = getattr(module, "Model", None)
    if not isinstance(model, type) or not all(callable(getattr(model, name, None)) for name in ("load", "infer")):
        raise LoadError(f"{_CODE} has no class Model with methods load and infer")
    try:
        return model()
    except Exception as error:  # whatever the author's code does
        raise LoadError(f"Model() failed: {type(error).__name__}: {public_message(error)}") from error


def _check_requirements(files: ModelFiles) -> None:
    """Raises: LoadError: something that the model needs is not installed here, or in another version."""
    from packaging.requirements import InvalidRequirement, Requirement

    if _REQUIREMENTS not in files.names:
        return
    for line in files.path(_REQUIREMENTS).read_text().splitlines():
        if not (text := re.sub(r"(^|\s)#.*", "", line).strip()):
            continue
        try:
            wanted = Requirement(text)
        except InvalidRequirement as error:
            raise LoadError(f"{_REQUIREMENTS}: can't read {text!r}") from error
        if wanted.marker is None or wanted.marker.evaluate():
            _check_requirement(wanted.name, wanted.specifier)


def _check_requirement(name: str, specifier: Any) -> None:
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        raise LoadError(f"the model requires {name}, which is not installed on this node") from None
    if not specifier.contains(found, prereleases=True):
        raise LoadError(f"the model requires {name}{specifier}, this node has {found}")


BACKEND = Python()
