"""scikit-learn's estimators as models, however they were kept.

An estimator says how many features it takes, and its classes, but no data types: inputs are FP64 named "X" unless the
manifest says otherwise. One that takes something else than a table of numbers (texts, say) needs a manifest that
describes its input.

===================  ======================================================================================
estimator            outputs
===================  ======================================================================================
classifier           "label" (the class: INT64, FP64 or BYTES) and, where it has them, "probabilities", FP64
regressor            "prediction", FP64
clusterer, outliers  "label", INT64
transformer          "transformed", FP64
===================  ======================================================================================
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from services.common.datatypes import datatype
from services.inference.backends.backend import Array, Arrays, Placement
from services.inference.backends.errors import LoadError, RefusedError, RunError, public_message
from services.inference.backends.tables import said_input, table_input
from services.inference.backends.texts import texts_of
from services.inference.domain.manifest import Manifest
from services.inference.domain.signature import Signature, TensorSpec

_KINDS = {"i": "INT64", "u": "INT64", "b": "INT64", "f": "FP64"}


class EstimatorModel:
    """A fitted estimator."""

    device = "cpu"

    def __init__(self, estimator: Any, manifest: Manifest, placement: Placement) -> None:
        """Raises: LoadError: it predicts nothing, or nobody says what it takes."""
        _use_threads(estimator, placement.threads)
        self._estimator = estimator
        self._input = _input_of(estimator, manifest)
        self._kind = datatype(self._input.datatype)
        self._calls = list(_calls_of(estimator))
        if not self._calls:
            raise LoadError(f"a {type(estimator).__name__} neither predicts nor transforms")
        self.signature = Signature((self._input,), tuple(spec for spec, _ in self._calls), is_batchable=True)

    def run(self, inputs: Arrays) -> dict[str, Array]:
        given: Any = inputs[self._input.name]
        if self._kind.name == "BYTES":
            given = texts_of(self._input.name, given)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that features have no names
                return {spec.name: _fitting(call(given), spec) for spec, call in self._calls}
        except ValueError as error:  # of a row that isn't a number, say
            raise RefusedError(public_message(error)) from error
        except Exception as error:
            raise RunError(public_message(error)) from error


def _use_threads(estimator: Any, threads: int) -> None:
    names = [name for name in estimator.get_params() if name.rpartition("__")[2] == "n_jobs"]
    estimator.set_params(**dict.fromkeys(names, threads))


def _input_of(estimator: Any, manifest: Manifest) -> TensorSpec:
    if (features := getattr(estimator, "n_features_in_", None)) is not None:
        return table_input(manifest, int(features))
    said = said_input(manifest)
    if not (said.shape and said.datatype):
        raise LoadError(
            f"a {type(estimator).__name__} doesn't say what it takes: expected a manifest with one input, for example "
            '{name = "text", datatype = "BYTES", shape = [-1]}'
        )
    return said


def _calls_of(estimator: Any) -> list[tuple[TensorSpec, Callable[[Any], Any]]]:
    """Each output, and what gives it."""
    classes = getattr(estimator, "classes_", None)
    if isinstance(classes, np.ndarray):
        kind = _KINDS.get(classes.dtype.kind, "BYTES")
        found: list[tuple[TensorSpec, Callable[[Any], Any]]] = [(TensorSpec("label", kind, (-1,)), estimator.predict)]
        if hasattr(estimator, "predict_proba"):
            labels = tuple(map(str, classes))
            found.append((TensorSpec("probabilities", "FP64", (-1, len(labels)), labels), estimator.predict_proba))
        return found
    if hasattr(estimator, "predict"):
        return [(_predicted(estimator), estimator.predict)]
    return (
        [(TensorSpec("transformed", "FP64", (-1, -1)), estimator.transform)] if hasattr(estimator, "transform") else []
    )


def _predicted(estimator: Any) -> TensorSpec:
    from sklearn.base import is_regressor

    count = getattr(estimator, "n_outputs_", 1)
    if isinstance(coefficients := getattr(estimator, "coef_", None), np.ndarray) and coefficients.ndim > 1:
        count = len(coefficients)
    shape = (-1,) if count == 1 else (-1, int(count))
    return TensorSpec("prediction", "FP64", shape) if is_regressor(estimator) else TensorSpec("label", "INT64", shape)


def _fitting(found: Any, spec: TensorSpec) -> Array:
    array = np.asarray(found.toarray() if hasattr(found, "toarray") else found)
    if spec.datatype == "BYTES":
        return np.array([str(one).encode() for one in array.ravel()], dtype=object).reshape(array.shape)
    return np.ascontiguousarray(array, datatype(spec.datatype).dtype)
