"""Backends: one module each, which loads a model file and runs it. Heavy libraries are imported inside."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from services.inference.domain.signature import Format, Signature
from services.inference.domain.variants import ORIGINAL, Level, Variant

Array = NDArray[Any]
Arrays = Mapping[str, Array]


PRODUCT = "~"
"""Stands between a model file's name and what else is kept beside it, such as native code made of it."""


class LoadError(Exception):
    """A file can't be served; the message says why, for the file's author."""


class RunError(Exception):
    """A model failed on its input; the message is fit for the caller."""


class DeviceLostError(BaseException):
    """A device takes nothing more from this process, which must end: whatever it has in hand is run by another one.

    No Exception, lest it be taken for a model's failure on one input.
    """


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a model runs. ``device`` is "auto", "cpu" or "cuda:0"; ``threads`` are those of one execution."""

    device: str = "auto"
    threads: int = 1


class Model(Protocol):
    """A loaded model. ``run`` is called from one thread at a time."""

    @property
    def signature(self) -> Signature:
        """What the file says of itself."""

    @property
    def device(self) -> str:
        """Where it runs: "cpu", "cuda:0"."""

    def run(self, inputs: Arrays) -> dict[str, Array]:
        """Infer. Arrays have the numpy types of ``services.common.datatypes``: BF16 as uint16, BYTES as objects.

        Raises:
            RunError: the model failed on this input.
            DeviceLostError: the process must end.
        """


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


_MODULES = {
    Format.ONNX: ("services.inference.backends.onnx", "onnxruntime"),
    Format.TORCH_EXPORT: ("services.inference.backends.torch_export", "torch"),
    Format.TORCHSCRIPT: ("services.inference.backends.torchscript", "torch"),
}


def library_of(model_format: Format) -> str:
    """The name of the library that serves a format, for example "onnxruntime"."""
    return _MODULES[model_format][1]


def installed_formats() -> list[Format]:
    """Formats whose library is there; nothing is imported."""
    return [one for one in Format if importlib.util.find_spec(library_of(one)) is not None]


def load(path: Path, model_format: Format, placement: Placement, variant: Variant = ORIGINAL) -> Model:
    """Load a model file with its format's backend. The caller has checked that the file may run code, if it can.

    Raises:
        LoadError: the library is missing, or the file is corrupt or asks for what it can't have, or it can't be loaded
            as this variant.
    """
    backend, options = _backend(model_format), dict(variant.options)
    if threads := options.pop("threads", ""):
        if not threads.isdecimal() or not int(threads):
            raise LoadError(f"got threads={threads}, expected a number, 1 or more")
        placement = replace(placement, threads=min(placement.threads, int(threads)))
    many, alone = Variant.of(options).split()
    model: Model = backend.load(path, placement, dict(many.options))
    return model if alone is None else ModelForEither(model, backend.load(path, placement, dict(alone.options)))


def variants(path: Path, model_format: Format, model: Model, *, level: Level) -> list[Variant]:
    """The variants of a loaded model that are worth a try, the simplest first; not the original."""
    given = _backend(model_format).variants(path, model, level)
    return [Variant.of(options) for options in given]


def use_threads(model_format: Format, threads: int) -> None:
    """Let models of a format run with so many threads from now on, where the library has one number for all."""
    _backend(model_format).use_threads(threads)


def _backend(model_format: Format) -> Any:
    module, library = _MODULES[model_format]
    if importlib.util.find_spec(library) is None:
        raise LoadError(f"format {model_format} needs {library}, which is not installed on this node")
    return importlib.import_module(module)


_PATH = re.compile(r"(?<![\w.])(?:/[\w.+\-]+){2,}/?")


def public_message(error: BaseException, *, limit: int = 500) -> str:
    """The text of a library's error without paths of this machine, on one line."""
    text = " ".join(_PATH.sub("…", str(error)).split()) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"
