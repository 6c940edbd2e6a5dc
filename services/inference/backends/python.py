"""Models written in Python: a folder with ``model.py``, which has a class ``Model``; see ``examples/python_model``.

.. code-block:: python

    class Model:
        def load(self, folder: Path, options: Mapping[str, str]) -> None: ...
        def infer(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]: ...
        def unload(self) -> None: ...  # may be left out

``load`` is called once, in the process that serves, with the model's own folder and the manifest's options; ``infer``
with a whole batch, whose rows the first dimension of each array counts. The text of a ValueError goes to the caller.
The manifest says all of what the model takes and gives. What it imports is listed in ``requirements.txt``: the node
must have it.
"""

from __future__ import annotations

import atexit
import importlib.util
import re
import sys
from collections.abc import Mapping
from importlib import metadata
from types import ModuleType
from typing import Any

import numpy as np

from services.common.datatypes import datatype
from services.inference.backends.backend import Array, Arrays, Backend, Placement
from services.inference.backends.errors import LoadError, RunError, public_message
from services.inference.backends.files import ModelFiles
from services.inference.domain.manifest import Manifest
from services.inference.domain.signature import Signature, has_free_first_dimension

_CODE, _REQUIREMENTS = "model.py", "requirements.txt"
_MODULE = "model_of_version"


class Python(Backend):
    format = "python"
    library = "numpy"

    def recognises(self, files: ModelFiles) -> bool:
        return _CODE in files.names

    def danger(self, _files: ModelFiles) -> str:
        return "is code"

    def load(
        self, files: ModelFiles, manifest: Manifest, _placement: Placement, _options: Mapping[str, str]
    ) -> PythonModel:
        _check_requirements(files)
        return PythonModel(files, manifest)


class PythonModel:
    """An object of the author's class."""

    device = "cpu"

    def __init__(self, files: ModelFiles, manifest: Manifest) -> None:
        if not (manifest.inputs and manifest.outputs):
            raise LoadError("a model in Python needs a manifest that describes its inputs and outputs")
        if vague := next((one for one in (*manifest.inputs, *manifest.outputs) if not one.datatype), None):
            raise LoadError(f"the manifest doesn't say of which datatype {vague.name!r} is")
        tensors = (*manifest.inputs, *manifest.outputs)
        self.signature = Signature(manifest.inputs, manifest.outputs, has_free_first_dimension(tensors))
        self._model = _made(_imported(files))
        try:
            self._model.load(files.root, dict(manifest.options))
        except Exception as error:  # whatever the author's code does
            raise LoadError(f"Model.load failed: {type(error).__name__}: {public_message(error)}") from error
        if hasattr(self._model, "unload"):
            atexit.register(self._model.unload)

    def run(self, inputs: Arrays) -> dict[str, Array]:
        try:
            outputs = self._model.infer(dict(inputs))
        except ValueError as error:
            raise RunError(public_message(error)) from error
        except Exception as error:  # whatever the author's code does
            raise RunError(f"the model failed: {type(error).__name__}: {public_message(error)}") from error
        return {spec.name: _checked(outputs, spec.name, spec.datatype) for spec in self.signature.outputs}


def _checked(outputs: Any, name: str, kind: str) -> Array:
    if not isinstance(outputs, Mapping) or name not in outputs:
        raise RunError(f"the model gave {_described(outputs)}, expected an array by the name {name!r}")
    array, wanted = np.asarray(outputs[name]), datatype(kind).dtype
    if array.dtype != wanted:
        raise RunError(f"the model gave {array.dtype} for {name!r}, expected {wanted} ({kind})")
    return array


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
