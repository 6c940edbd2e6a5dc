"""What is done before and after a model, as its manifest says: callers send a photograph or a sentence.

Steps are pure over batches: the first dimension of each tensor counts rows, and no row influences another.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from services.inference.backends.backend import Model
from services.inference.backends.files import ModelFiles
from services.inference.domain.manifest import Step
from services.inference.processing import images, numbers, scores, tensors, texts
from services.inference.processing.chain import Postprocessing, Preprocessing
from services.inference.processing.model import ProcessedModel, ProcessedStreams
from services.inference.processing.operation import LIBRARIES, Operation
from services.inference.processing.parsing import parse

_FAMILIES = (tensors.OPERATIONS, images.OPERATIONS, texts.OPERATIONS, numbers.OPERATIONS, scores.OPERATIONS)
OPERATIONS: dict[str, type[Operation]] = {one.name: one for family in _FAMILIES for one in family}
"""By the name that manifests have for them."""


def libraries_of(*steps: Sequence[Step]) -> list[str]:
    """The packages that these steps need."""
    found = {OPERATIONS[one.operation].library for group in steps for one in group if one.operation in OPERATIONS}
    return sorted(found - {""})


def installed_libraries() -> list[str]:
    """Those of all that steps may need which are there; nothing is imported."""
    return [package for package, module in LIBRARIES.items() if importlib.util.find_spec(module) is not None]


def processed(model: Model, before: Sequence[Step], after: Sequence[Step], files: ModelFiles) -> ProcessedModel:
    """The model with its steps, whose signature is what callers see.

    Raises:
        LoadError: a step is not known, has arguments that it can't have, doesn't fit the tensors that it gets, or needs
            a library that isn't there; the message says which step, what it got, and what it expected.
    """
    preprocessing = Preprocessing(parse(before, OPERATIONS, "preprocessing"), model.signature, files)
    postprocessing = Postprocessing(parse(after, OPERATIONS, "postprocessing"), model.signature, files)
    kind = ProcessedStreams if model.signature.is_decoupled else ProcessedModel
    return kind(model, preprocessing, postprocessing)
