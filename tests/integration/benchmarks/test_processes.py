"""CPU accounting on real processes that are known to burn."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from benchmarks.processes import CpuClock

BURN = """
import sys, time
for line in sys.stdin:
    end = time.process_time() + float(line)
    while time.process_time() < end:
        pass
    print("done", flush=True)
"""


class Burner:
    """A process that uses as much CPU time as it is told."""

    def __init__(self) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen([sys.executable, "-c", BURN], stdin=pipe, stdout=pipe, text=True)
        self.handle = psutil.Process(self._process.pid)
        self.burn(0)

    def burn(self, seconds: float) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"

    def end(self) -> None:
        self._process.communicate()


@pytest.fixture
def idle() -> Iterator[Burner]:
    burner = Burner()
    yield burner
    burner.end()


@pytest.fixture
def busy() -> Iterator[Burner]:
    burner = Burner()
    yield burner
    burner.end()


def test_a_process_is_charged_what_it_used_and_an_idle_one_nothing(idle: Burner, busy: Burner) -> None:
    parts = {"idle": [idle.handle], "busy": [busy.handle]}
    before = CpuClock.read(parts)

    busy.burn(0.3)

    spent = CpuClock.read(parts) - before
    assert spent.parts == {"idle": 0, "busy": pytest.approx(0.3, abs=0.05)}
    assert spent.ours > spent.parts["busy"] - 0.005  # sums of clock ticks as floats
    assert 0 <= spent.strangers_share <= 1


def test_a_process_that_ended_can_not_be_accounted() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    process = psutil.Process(gone.pid)
    gone.wait()

    with pytest.raises(psutil.NoSuchProcess):
        CpuClock.read({"server": [process]})
