"""scikit-learn's estimators, pickled, by joblib or Python. Loading one runs whatever it says: trusted ones only."""

from __future__ import annotations

from collections.abc import Mapping

from services.inference.backends.backend import Backend, Model, Placement
from services.inference.backends.errors import LoadError, public_message
from services.inference.backends.files import ModelFiles
from services.inference.domain.manifest import Manifest

_HEADS = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))


class SklearnPickle(Backend):
    format = "sklearn_pickle"
    library = "sklearn"

    def recognises(self, files: ModelFiles) -> bool:
        return bool(files.only) and files.head(files.only).startswith(_HEADS)

    def danger(self, _files: ModelFiles) -> str:
        return "is a Python pickle, which can run any code while loading (skops keeps estimators without)"

    def load(self, files: ModelFiles, manifest: Manifest, placement: Placement, _options: Mapping[str, str]) -> Model:
        import joblib
        from sklearn.base import BaseEstimator

        from services.inference.backends.estimators import EstimatorModel

        try:
            estimator = joblib.load(files.path(files.only))
        except Exception as error:  # whatever a foreign pickle provokes
            raise LoadError(f"the pickle can't be loaded: {public_message(error)}") from error
        if not isinstance(estimator, BaseEstimator):
            raise LoadError(f"the pickle holds a {type(estimator).__name__}, expected an estimator of scikit-learn")
        return EstimatorModel(estimator, manifest, placement)


BACKEND = SklearnPickle()
