"""A model as the agent looks at it and as a model process runs it, without either; and what all classifiers must do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.inference import backends
from services.inference.backends import ModelFiles, Placement
from services.inference.domain.manifest import NOTHING_SAID, Manifest
from services.inference.domain.signature import TensorSpec
from services.inference.inspector import Inspection, inspect
from services.inference.probes import Outcome
from tests.support.models import digits

Floats = NDArray[np.float32]


def inspected(path: Path, *, is_trusted: bool = False) -> dict[str, Any]:
    return inspect(Inspection(str(path), "", is_trusted, "cpu", 1))


def load(path: Path, manifest: Manifest = NOTHING_SAID) -> Any:
    files = ModelFiles(path)
    return backends.load(files, backends.recognise(files).format, Placement("cpu", 1), manifest=manifest)


def check_digits(path: Path, name: str, expected: Callable[[Floats], Floats], *, rtol: float = 1e-6) -> None:
    """The model of digits at ``path`` is of this format, passes all probes, and gives what its library does."""
    verdict = inspected(path)
    assert (verdict["format"], verdict["signature"]["is_batchable"]) == (name, True)
    assert {one["outcome"] for one in verdict["probes"]} == {Outcome.PASSED}
    model = load(path)
    assert model.signature.inputs == (TensorSpec("image", "FP32", (-1, 64)),)
    assert model.signature.outputs == (TensorSpec("probabilities", "FP32", (-1, 10)),)
    images = digits().images[:50]
    images.flags.writeable = False
    for rows in (images, images[:3], images[:1]):
        found = model.run({"image": rows})["probabilities"]
        np.testing.assert_allclose(found, expected(rows), rtol=rtol)
        np.testing.assert_array_equal(found.argmax(axis=1), digits().predict(rows))
