"""A process that lets others go first, and so do the threads that it starts."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import os, threading
from services.common.priority import step_back
step_back(10)
def tell():
    print(os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0) == os.SCHED_BATCH)
tell()
thread = threading.Thread(target=tell)
thread.start()
thread.join()
"""


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="of Linux")
def test_a_process_that_steps_back_has_little_weight_and_preempts_nobody() -> None:
    told = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout
    assert told.splitlines() == [f"{os.getpriority(os.PRIO_PROCESS, 0) + 10} True"] * 2
