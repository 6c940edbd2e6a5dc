"""CPU time and memory by process, as the kernel accounts them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

Parts = Mapping[str, Sequence[psutil.Process]]
"""The processes of a system by the part that they are of it."""
REST = "rest"
"""The part that no request passes through."""


@dataclass(frozen=True, slots=True)
class CpuClock:
    """CPU seconds, user and system, used so far: by each part of a system, by us with all descendants, by everybody.

    ``capacity`` is what all cores could have given, ``stolen`` what the host of a virtual machine gave to others. The
    kernel counts in ticks of 10 ms, so a span of a few seconds is good to about 1 %.
    """

    parts: Mapping[str, float]
    ours: float
    machine: float
    stolen: float
    capacity: float

    @classmethod
    def read(cls, parts: Parts) -> CpuClock:
        """Read it.

        Raises:
            psutil.NoSuchProcess: a process has ended, so that its time is lost; those of the part REST may.
        """
        machine = psutil.cpu_times()
        return cls(
            parts={part: sum(_seconds(one, may_end=part == REST) for one in those) for part, those in parts.items()},
            ours=sum(_seconds(one, may_end=True, with_ended=True) for one in family_of(os.getpid())),
            machine=machine.user + machine.nice + machine.system + machine.irq + machine.softirq,
            stolen=getattr(machine, "steal", 0.0),
            capacity=time.monotonic() * (os.cpu_count() or 1),
        )

    def __sub__(self, before: CpuClock) -> CpuClock:
        return CpuClock(
            parts={part: max(0.0, seconds - before.parts[part]) for part, seconds in self.parts.items()},
            ours=self.ours - before.ours,
            machine=self.machine - before.machine,
            stolen=self.stolen - before.stolen,
            capacity=self.capacity - before.capacity,
        )

    @property
    def strangers_share(self) -> float:
        """Share of the machine, 0 to 1, that other programs took."""
        return max(0.0, self.machine - self.ours) / self.capacity

    @property
    def stolen_share(self) -> float:
        """Share of the machine, 0 to 1, that its host gave to other machines."""
        return self.stolen / self.capacity


def family_of(pid: int) -> list[psutil.Process]:
    """A process and all its descendants."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def resident_mb(processes: Iterable[psutil.Process]) -> float:
    """Memory in MB that these processes have to themselves, and their share of what others map too (PSS)."""
    total = 0
    for process in processes:
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
            total += int(text.partition("\nPss:")[2].split()[0])
    return total * 1024 / 1e6


def _seconds(process: psutil.Process, *, may_end: bool = False, with_ended: bool = False) -> float:
    """What a process used, and the children that it had where ``with_ended``."""
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        if not may_end:
            raise
        return 0.0
    ended = times.children_user + times.children_system if with_ended else 0.0
    return float(times.user + times.system + ended)
