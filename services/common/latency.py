"""What keeps the interpreter from stalling a process that serves."""

from __future__ import annotations

import gc
import sys


def favour_latency() -> None:
    """Keep this process from stalling now that it has started; its daily work must leave no cycles of references.

    A garbage collection over all that starting made takes 50 ms and more, so that is left out, and others are rare. A
    thread that renders metrics or spans hands the interpreter over after 1 ms instead of 5.
    """
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)
    sys.setswitchinterval(0.001)
