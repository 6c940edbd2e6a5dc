"""Makes every model of a suite take 10 ms, or BENCH_SLEEP_MS, without using the processor.

Python imports this module by itself at start-up where its folder is on PYTHONPATH.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

_SECONDS = float(os.environ.get("BENCH_SLEEP_MS", "10")) / 1e3


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
