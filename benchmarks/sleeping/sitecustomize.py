"""Makes every model of a suite take 10 ms without using the processor: for the scenario ``scaling``.

Python imports this module by itself at start-up where its folder is on PYTHONPATH.
"""

from __future__ import annotations

import sys
import time
from typing import Any

_SECONDS = 0.010


class _Sleeping:
    """A loaded model whose every run takes so long at least."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def run(self, inputs: Any) -> Any:
        time.sleep(_SECONDS)
        return self._model.run(inputs)


if "services.inference.model_process" in sys.orig_argv:
    from services.inference import backends

    _load = backends.load

    def _load_sleeping(*arguments: Any, **named: Any) -> Any:
        return _Sleeping(_load(*arguments, **named))

    backends.load = _load_sleeping
