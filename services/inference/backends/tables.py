"""Inputs of models that take tables of numbers, and say how many columns but not of which type."""

from __future__ import annotations

from services.common.datatypes import datatype
from services.inference.backends.errors import LoadError
from services.inference.domain.manifest import Manifest
from services.inference.domain.signature import TensorSpec

_NUMBERS = "biuf"


def table_input(manifest: Manifest, columns: int) -> TensorSpec:
    """The one input: "X", FP64, unless the manifest says otherwise.

    Raises:
        LoadError: the manifest says that it isn't numbers.
    """
    said = said_input(manifest)
    if said.datatype == "BF16" or datatype(said.datatype or "FP64").dtype.kind not in _NUMBERS:
        raise LoadError(f"the model takes numbers, the manifest says {said.datatype}")
    return TensorSpec(said.name, said.datatype or "FP64", (-1, columns))


def said_input(manifest: Manifest) -> TensorSpec:
    """What the manifest says of the only input."""
    return manifest.inputs[0] if len(manifest.inputs) == 1 else TensorSpec("X", "", ())
