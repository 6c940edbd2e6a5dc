"""LightGBM's boosters, kept as text by ``Booster.save_model``: data, no code.

The input is "X", FP64, unless the manifest says otherwise. The output is "prediction", FP64: of several classes, one
probability each, as the booster's objective has it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from services.inference.backends.backend import Array, Arrays, Backend, Placement
from services.inference.backends.errors import LoadError, RunError, public_message
from services.inference.backends.files import ModelFiles
from services.inference.backends.lightgbm_trees import check_booster
from services.inference.backends.tables import table_input
from services.inference.domain.manifest import Manifest
from services.inference.domain.signature import Signature, TensorSpec


class LightGbm(Backend):
    format = "lightgbm"
    library = "lightgbm"

    def recognises(self, files: ModelFiles) -> bool:
        return bool(files.only) and files.head(files.only, 32).startswith(b"tree\nversion=v")

    def load(
        self, files: ModelFiles, manifest: Manifest, placement: Placement, _options: Mapping[str, str]
    ) -> LightGbmModel:
        return LightGbmModel(files, manifest, placement)


class LightGbmModel:
    """A booster."""

    device = "cpu"

    def __init__(self, files: ModelFiles, manifest: Manifest, placement: Placement) -> None:
        """Raises: LoadError: it is damaged, or its trees lead out of themselves."""
        import lightgbm

        path = files.path(files.only)
        try:
            check_booster(path.read_bytes().decode())
            self._booster = lightgbm.Booster(model_file=str(path))
        except (lightgbm.basic.LightGBMError, ValueError, KeyError, OverflowError) as error:
            said = f"it lacks {error}" if isinstance(error, KeyError) else public_message(error)
            raise LoadError(f"lightgbm can't load the booster: {said}") from error
        self._threads = placement.threads
        self._input = table_input(manifest, self._booster.num_feature())
        count = self._booster.num_model_per_iteration()
        output = TensorSpec("prediction", "FP64", (-1,) if count == 1 else (-1, count))
        self.signature = Signature((self._input,), (output,), is_batchable=True)

    def run(self, inputs: Arrays) -> dict[str, Array]:
        import lightgbm

        try:
            found = self._booster.predict(inputs[self._input.name], num_threads=self._threads)
        except lightgbm.basic.LightGBMError as error:
            raise RunError(public_message(error)) from error
        return {"prediction": np.asarray(found, np.float64)}


BACKEND = LightGbm()
