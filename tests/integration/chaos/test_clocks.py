from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.chaos.clocks import Clock

CHILD = """
import time
for line in iter(input, ""):
    print(time.time(), time.time_ns(), time.monotonic(), flush=True)
"""


def test_a_clock_steps_at_once_and_monotonic_ones_do_not(tmp_path: Path) -> None:
    clock = Clock(tmp_path / "clock")
    environ = {**os.environ, **clock.environ}
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", CHILD], env=environ, stdin=pipe, stdout=pipe, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        for ahead in (0, 3600, -30):
            clock.set(ahead)
            before = time.time(), time.monotonic()
            child.stdin.write("look\n")
            child.stdin.flush()
            wall, wall_ns, monotonic = map(float, child.stdout.readline().split())
            after = time.time(), time.monotonic()
            assert before[0] + ahead <= wall <= wall_ns / 1e9 + 1e-3 <= after[0] + ahead + 2e-3
            assert before[1] <= monotonic <= after[1]
        child.stdin.write("\n")
