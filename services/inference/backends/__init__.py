"""Backends: one module each, which recognises, loads and runs models of one format."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import replace
from functools import cache

from services.inference.backends import archives
from services.inference.backends.backend import Array, Arrays, Backend, Model, Placement
from services.inference.backends.errors import (
    DeviceLostError,
    ElsewhereError,
    InputError,
    LoadError,
    RefusedError,
    RunError,
    public_message,
)
from services.inference.backends.files import PRODUCT, ModelFiles
from services.inference.backends.streams import DecoupledModel, Drained, Responses, decoupled
from services.inference.backends.unknown import likeness
from services.inference.domain.manifest import NOTHING_SAID, PROBE, Manifest, MismatchError
from services.inference.domain.signature import Signature
from services.inference.domain.variants import ORIGINAL, Level, Variant

__all__ = [
    "PRODUCT",
    "Array",
    "Arrays",
    "Backend",
    "DecoupledModel",
    "DeviceLostError",
    "Drained",
    "ElsewhereError",
    "InputError",
    "LoadError",
    "Model",
    "ModelFiles",
    "Placement",
    "RefusedError",
    "Responses",
    "RunError",
    "decoupled",
    "installed_formats",
    "is_installed",
    "library_of",
    "load",
    "public_message",
    "recognise",
    "use_threads",
    "variants",
]

_MODULES = (
    "python",
    "torch_export",
    "torchscript",
    "sklearn_skops",
    "sklearn_pickle",
    "lightgbm",
    "xgboost",
    "keras",
    "tensorflow",
    "litert",
    "openvino",
    "remote",
    "transformers",
    "onnx",
)
"""Modules of this package with a ``BACKEND``. Who can be sure is asked before who has to guess."""


class ModelForEither:
    """A model loaded in two ways: one runs batches, the other single rows."""

    def __init__(self, many: Model, alone: Model) -> None:
        self.signature = many.signature
        self.device = many.device
        self._many = many
        self._alone = alone

    def run(self, inputs: Arrays) -> dict[str, Array]:
        is_alone = all(array.shape[:1] == (1,) for array in inputs.values())
        return (self._alone if is_alone else self._many).run(inputs)


class Described:
    """A model with another signature than the one it gives itself."""

    def __init__(self, model: Model, signature: Signature) -> None:
        self.signature = signature
        self.device = model.device
        self.run = model.run
        if isinstance(model, DecoupledModel):
            self.stream = model.stream


@cache
def _backends() -> dict[str, Backend]:
    modules = [importlib.import_module(f"{__name__}.{name}") for name in _MODULES]
    return {module.BACKEND.format: module.BACKEND for module in modules}


def library_of(model_format: str) -> str:
    """The name of the library that serves a format, for example "onnxruntime"; "?" for one that isn't known."""
    backend = _backends().get(model_format)
    return "?" if backend is None else backend.library


def is_elsewhere(model_format: str) -> bool:
    """Whether models of a format are reached by the network."""
    backend = _backends().get(model_format)
    return backend is not None and backend.is_elsewhere


def is_code(model_format: str) -> bool:
    """Whether models of a format are code of their authors."""
    backend = _backends().get(model_format)
    return backend is not None and backend.is_code


def installed_formats() -> list[str]:
    """Formats whose library is there; nothing is imported."""
    return [name for name, backend in _backends().items() if is_installed(backend)]


def recognise(files: ModelFiles) -> Backend:
    """The backend of a model's format, told from the content without loading it.

    Raises:
        LoadError: it is of none that can be served; the message says what it looks like.
    """
    for name in files.names:
        if files.is_archive(name):
            archives.check(files.path(name))
    for backend in _backends().values():
        if backend.recognises(files):
            return backend
    raise LoadError(f"{likeness(files)}: expected a model in one of the formats {', '.join(sorted(_backends()))}")


def load(
    files: ModelFiles,
    model_format: str,
    placement: Placement,
    variant: Variant = ORIGINAL,
    *,
    manifest: Manifest = NOTHING_SAID,
) -> Model:
    """Load a model with its format's backend. The caller has checked that it may run code, if it can.

    Raises:
        LoadError: the library is missing, or the model is damaged or asks for what it can't have, or is not what its
            manifest says, or it can't be loaded as this variant.
    """
    backend, options = _backend(model_format), dict(variant.options)
    if manifest.probe not in ("", "on", "off"):
        raise LoadError(f"got the option {PROBE} = {manifest.probe!r}, expected on or off")
    manifest = manifest.for_backend
    if not backend.recognises(files):
        raise LoadError(f"{likeness(files)}: expected a model in the format {model_format}")
    if threads := options.pop("threads", ""):
        if not threads.isdecimal() or not int(threads):
            raise LoadError(f"got threads={threads}, expected a number, 1 or more")
        placement = replace(placement, threads=min(placement.threads, int(threads)))
    many, alone = Variant.of(options).split()
    loaded = [backend.load(files, manifest, placement, dict(one.options)) for one in (many, alone) if one is not None]
    model = loaded[0] if alone is None else ModelForEither(*loaded)
    try:
        signature = manifest.complete(model.signature)
    except MismatchError as error:
        raise LoadError(str(error)) from error
    if signature != model.signature:
        model = Described(model, signature)
    before, after = backend.steps(files, manifest)
    if not (before or after):
        return model
    from services.inference.processing import processed

    return processed(model, before, after, files)


def variants(files: ModelFiles, model_format: str, model: Model, *, level: Level) -> list[Variant]:
    """The variants of a loaded model that are worth a try, the simplest first; not the original."""
    return [Variant.of(options) for options in _backend(model_format).variants(files, model, level)]


def use_threads(model_format: str, threads: int) -> None:
    """Let models of a format run with so many threads from now on, where the library has one number for all."""
    _backend(model_format).use_threads(threads)


def is_installed(backend: Backend) -> bool:
    """Whether the backend's library is there."""
    return importlib.util.find_spec(backend.library) is not None


def _backend(model_format: str) -> Backend:
    backend = _backends().get(model_format)
    if backend is None:
        raise LoadError(f"got format {model_format!r}, expected one of {', '.join(sorted(_backends()))}")
    if not is_installed(backend):
        raise LoadError(f"format {model_format} needs {backend.library}, which is not installed on this node")
    return backend
