"""scikit-learn's estimators, kept by skops: no code, but some types that can be abused are to be vouched for."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping

from services.inference.backends.backend import Backend, Model, Placement
from services.inference.backends.errors import LoadError, public_message
from services.inference.backends.files import ModelFiles
from services.inference.domain.manifest import Manifest

_SCHEMA = "schema.json"
_LARGEST_SCHEMA = 64 * 2**20


class SklearnSkops(Backend):
    format = "sklearn"
    library = "skops"

    def recognises(self, files: ModelFiles) -> bool:
        if not files.is_archive(files.only) or _SCHEMA not in files.archived(files.only):
            return False
        try:
            with zipfile.ZipFile(files.path(files.only)) as archive:
                if archive.getinfo(_SCHEMA).file_size > _LARGEST_SCHEMA:
                    raise LoadError(f"{files.only} has a schema of more than {_LARGEST_SCHEMA >> 20} MiB")
                return "_skops_version" in json.loads(archive.read(_SCHEMA))
        except (ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
            raise LoadError(f"{files.only} is a damaged archive: its schema can't be read") from error

    def danger(self, files: ModelFiles) -> str:
        """Trees, for one, refer to their nodes by numbers that nobody checks."""
        types = _untrusted(files)
        return f"has parts that can do harm when they were tampered with ({', '.join(types)})" if types else ""

    def load(self, files: ModelFiles, manifest: Manifest, placement: Placement, _options: Mapping[str, str]) -> Model:
        """Whoever loads it has seen to it that somebody vouches for its types."""
        from skops import io

        from services.inference.backends.estimators import EstimatorModel

        try:
            estimator = io.load(files.path(files.only), trusted=_untrusted(files))
        except Exception as error:  # whatever a foreign archive provokes
            raise LoadError(f"skops can't load the estimator: {public_message(error)}") from error
        return EstimatorModel(estimator, manifest, placement)


def _untrusted(files: ModelFiles) -> list[str]:
    from skops import io

    try:
        return list(io.get_untrusted_types(file=files.path(files.only)))
    except Exception as error:  # whatever a foreign archive provokes
        raise LoadError(f"skops can't read the estimator: {public_message(error)}") from error


BACKEND = SklearnSkops()
