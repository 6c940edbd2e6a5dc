"""Letting other processes go first."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def step_back(niceness: int) -> None:
    """Let every other process go first. Each step is skipped where the system doesn't know or allow it.

    Where the kernel shares processors out by session (sched(7), autogroup), only the session's niceness counts: that is
    set too, if it is ours alone.
    """
    with contextlib.suppress(OSError):
        os.nice(niceness)
    with contextlib.suppress(AttributeError, OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))  # as it wakes up, it takes no processor from others
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(niceness))
