"""Encoders and classifiers of transformers: weights in safetensors, and a ``config.json`` that says what they are of.

An embedding model of sentence-transformers, or a classifier, with a ``tokenizer.json`` needs no manifest: texts go in,
embeddings or probabilities come out. The option ``steps = "none"`` serves its tokens and numbers as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from services.inference.backends.backend import Backend, Model, Placement
from services.inference.backends.errors import LoadError
from services.inference.backends.files import ModelFiles
from services.inference.backends.safetensors_files import check_weights
from services.inference.backends.transformers_folder import TransformersFolder
from services.inference.domain.manifest import Manifest, Step

_STEPS = ("implied", "none")


class Transformers(Backend):
    format = "transformers"
    library = "transformers"

    def recognises(self, files: ModelFiles) -> bool:
        folder = TransformersFolder(files)
        has_weights = folder.has_weights or (folder.pickle and not files.main(".onnx"))
        return bool(has_weights) and "model_type" in folder.config

    def load(self, files: ModelFiles, manifest: Manifest, placement: Placement, _options: Mapping[str, str]) -> Model:
        if (said := manifest.options.get("steps", "implied")) not in _STEPS:
            raise LoadError(f"got the option steps = {said!r}, expected one of {', '.join(_STEPS)}")
        folder = TransformersFolder(files)
        folder.check()
        check_weights(files)
        from services.inference.backends import transformers_model

        return transformers_model.load(folder, placement)

    def steps(self, files: ModelFiles, manifest: Manifest) -> tuple[Sequence[Step], Sequence[Step]]:
        if manifest.options.get("steps") == "none":
            return manifest.preprocessing, manifest.postprocessing
        folder = TransformersFolder(files)
        return manifest.preprocessing or folder.before(), manifest.postprocessing or folder.after()

    def use_threads(self, threads: int) -> None:
        from services.inference.backends import torch_runtime

        torch_runtime.use_threads(threads)


BACKEND = Transformers()
