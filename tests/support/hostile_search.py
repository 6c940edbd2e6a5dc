"""The search process with variants that misbehave: a module to start in its place."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np

from services.inference import backends, search
from services.inference.backends import Arrays, LoadError, Model, ModelFiles, Placement
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


def _spy(files: ModelFiles) -> None:
    """Try what is none of a search's business; tell of what was possible."""
    possible = []
    for name, attempt in {
        "read": lambda: files.root.with_name("secret").read_text(),
        "write": lambda: files.root.with_name("more").write_text("more"),
        "change": lambda: files.root.write_bytes(b"other"),
        "connect": lambda: socket.create_connection(("127.0.0.1", 9), timeout=1),
        "signal": lambda: os.kill(os.getppid(), 0),
    }.items():
        try:
            attempt()
        except PermissionError:
            continue
        except OSError:
            pass
        possible.append(name)
    Path(os.environ["TMPDIR"], "scratch").write_text("is for that")
    raise LoadError(f"was possible: {possible}")


def _hostile_load(
    files: ModelFiles, model_format: str, placement: Placement, variant: Variant = ORIGINAL, **named: Any
) -> Model:
    behaviour = dict(variant.options).get("test", "")
    if behaviour == "crash":
        os.abort()
    while behaviour == "hang":
        pass
    if behaviour == "spy":
        _spy(files)
    model = _load(files, model_format, placement, **named)
    return _Wrong(model) if behaviour == "wrong" else model


backends.load = _hostile_load  # type: ignore[assignment]
backends.variants = lambda *_, **__: [Variant.of({"test": one}) for one in ("wrong", "crash", "hang", "spy", "right")]  # type: ignore[assignment]

if __name__ == "__main__":
    sys.argv[0] = search.__file__
    search.main()
