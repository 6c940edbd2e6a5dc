"""Backends: one module each, which loads a model file and runs it. Heavy libraries are imported inside."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from services.inference.domain.signature import Format, Signature

Array = NDArray[Any]
Arrays = Mapping[str, Array]


class LoadError(Exception):
    """A file can't be served; the message says why, for the file's author."""


class RunError(Exception):
    """A model failed on its input; the message is fit for the caller."""


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
        """


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


def load(path: Path, model_format: Format, placement: Placement) -> Model:
    """Load a model file with its format's backend. The caller has checked that the file may run code, if it can.

    Raises:
        LoadError: the library is missing, or the file is corrupt or asks for what it can't have.
    """
    module, library = _MODULES[model_format]
    if importlib.util.find_spec(library) is None:
        raise LoadError(f"format {model_format} needs {library}, which is not installed on this node")
    model: Model = importlib.import_module(module).load(path, placement)
    return model


_PATH = re.compile(r"(?<![\w.])(?:/[\w.+\-]+){2,}/?")


def public_message(error: BaseException, *, limit: int = 500) -> str:
    """The text of a library's error without paths of this machine, on one line."""
    text = " ".join(_PATH.sub("…", str(error)).split()) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"


def sample(signature: Signature, *, rows: int, free_size: int, seed: int = 0) -> dict[str, Array]:
    """Inputs that fit a signature, for warm-up: small random numbers, zeros for integers; free dimensions as given."""
    from services.common.datatypes import datatype

    random, arrays = np.random.default_rng(seed), {}
    for spec in signature.inputs:
        shape = [free_size if size == -1 else size for size in spec.shape]
        if signature.is_batchable:
            shape[0] = rows
        kind = datatype(spec.datatype)
        if kind.name == "BYTES":
            arrays[spec.name] = np.full(shape, b"", dtype=object)
        elif kind.dtype.kind == "f":
            arrays[spec.name] = random.standard_normal(shape).astype(kind.dtype)
        else:
            arrays[spec.name] = np.zeros(shape, kind.dtype)
    return arrays
