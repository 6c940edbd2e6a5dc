"""The search process with variants that misbehave: a module to start in its place."""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np

from services.inference import backends, search
from services.inference.backends import Arrays, Model, ModelFiles, Placement
from services.inference.domain.variants import ORIGINAL, Variant

_load = backends.load


class _Wrong:
    """A model whose outputs are off by a hundredth, and which is fast: it doesn't compute them again."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.signature = model.signature
        self.device = model.device
        self._known: dict[bytes, dict[str, Any]] = {}

    def run(self, inputs: Arrays) -> dict[str, Any]:
        key = b"".join(array.tobytes() for array in inputs.values())
        if key not in self._known:
            self._known[key] = {name: np.asarray(array * 1.01) for name, array in self._model.run(inputs).items()}
        return self._known[key]


def _hostile_load(
    files: ModelFiles, model_format: str, placement: Placement, variant: Variant = ORIGINAL, **named: Any
) -> Model:
    behaviour = dict(variant.options).get("test", "")
    if behaviour == "crash":
        os.abort()
    while behaviour == "hang":
        pass
    model = _load(files, model_format, placement, **named)
    return _Wrong(model) if behaviour == "wrong" else model


backends.load = _hostile_load  # type: ignore[assignment]
backends.variants = lambda *_, **__: [Variant.of({"test": one}) for one in ("wrong", "crash", "hang", "right")]  # type: ignore[assignment]

if __name__ == "__main__":
    sys.argv[0] = search.__file__
    search.main()
