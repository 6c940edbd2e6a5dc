"""XGBoost's boosters, kept as JSON or UBJSON by ``Booster.save_model`` (or that of its estimators): data, no code.

The input is "X", FP64, unless the manifest says otherwise; NaN is a missing value. The output is "prediction", FP32: of
several classes or targets, one number each, as the booster's objective has it. An estimator's boosters that were
stopped early predict with the best iteration, as the estimator does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from services.inference.backends import ubjson
from services.inference.backends.backend import Array, Arrays, Backend, Placement
from services.inference.backends.errors import LoadError, RunError, public_message
from services.inference.backends.files import ModelFiles
from services.inference.backends.tables import table_input
from services.inference.backends.xgboost_trees import check_booster
from services.inference.domain.manifest import Manifest
from services.inference.domain.signature import Signature, TensorSpec

_JSON = re.compile(rb'\s*\{\s*"(learner"\s*:\s*\{|version"\s*:\s*\[)')
_UBJSON = re.compile(rb"\{L\0{7}\x07(learner|version)[{\[]")
_PLACE = re.compile(r"^\[[\d:]+\] \S+:\d+: ")
"""When, and where in XGBoost's sources."""


class XgBoost(Backend):
    format = "xgboost"
    library = "xgboost"

    def recognises(self, files: ModelFiles) -> bool:
        if not files.only:
            return False
        head = files.head(files.only, 256)
        return bool(_JSON.match(head) or _UBJSON.match(head))

    def load(
        self, files: ModelFiles, manifest: Manifest, placement: Placement, _options: Mapping[str, str]
    ) -> XgBoostModel:
        return XgBoostModel(files, manifest, placement)


class XgBoostModel:
    """A booster."""

    device = "cpu"

    def __init__(self, files: ModelFiles, manifest: Manifest, placement: Placement) -> None:
        """Raises: LoadError: it is damaged, or its trees lead out of themselves."""
        import xgboost

        self._matrix_of = xgboost.DMatrix
        self._failure = xgboost.core.XGBoostError
        content = files.path(files.only).read_bytes()
        try:
            self._is_tree = check_booster(_parsed(content))
            self._booster = xgboost.Booster()
            self._booster.load_model(bytearray(content))  # given a path, it goes by the suffix
            self._booster.set_param({"nthread": placement.threads, "device": "cpu"})
            self._rounds = _rounds(self._booster)
            columns = self._booster.num_features()
            trial = self._predict(np.zeros((1, columns), np.float32))
        except (self._failure, ValueError, KeyError, TypeError, RecursionError) as error:
            raise LoadError(f"xgboost can't load the booster: {_said(error)}") from error
        self._input = table_input(manifest, columns)
        # Halves and truth values aren't among the types that it takes.
        self._converts = self._input.datatype in ("BOOL", "FP16")
        output = TensorSpec("prediction", "FP32", (-1, *trial.shape[1:]))
        self.signature = Signature((self._input,), (output,), is_batchable=True)

    def run(self, inputs: Arrays) -> dict[str, Array]:
        given = inputs[self._input.name]
        try:
            return {"prediction": self._predict(given.astype(np.float32) if self._converts else given)}
        except self._failure as error:
            raise RunError(_said(error)) from error

    def _predict(self, rows: Array) -> Array:
        if self._is_tree:
            found = self._booster.inplace_predict(rows, iteration_range=self._rounds)
        else:
            found = self._booster.predict(self._matrix_of(rows), iteration_range=self._rounds)
        return np.asarray(found, np.float32)


def _parsed(content: bytes) -> Any:
    if not _JSON.match(content):
        return ubjson.parse(content)
    return json.loads(content, object_pairs_hook=ubjson.members)


def _rounds(booster: Any) -> tuple[int, int]:
    """Which iterations predict; (0, 0) is all."""
    best = booster.attr("best_iteration") if booster.attr("scikit_learn") else None
    return (0, int(best) + 1) if best is not None and best.isdecimal() else (0, 0)


def _said(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it lacks {error}"
    return public_message(ValueError(_PLACE.sub("", str(error).partition("Stack trace:")[0])))


BACKEND = XgBoost()
