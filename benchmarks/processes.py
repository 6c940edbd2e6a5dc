"""CPU time by process, as the kernel accounts it."""

from __future__ import annotations

import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psutil

Parts = Mapping[str, Sequence[psutil.Process]]
"""The processes of a system by the part that they are of it."""


@dataclass(frozen=True, slots=True)
class CpuClock:
    """CPU seconds, user and system, that each part has used so far; ``client`` is what ended children of ours used."""

    seconds: Mapping[str, float]

    @classmethod
    def read(cls, parts: Parts) -> CpuClock:
        """Read it. The kernel counts in ticks of 10 ms, so a span of a few seconds is good to about 1 %.

        Raises:
            psutil.NoSuchProcess: a process has ended, so that its time is lost.
        """
        seconds = {part: sum(_seconds(process) for process in processes) for part, processes in parts.items()}
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return cls({**seconds, "client": children.ru_utime + children.ru_stime})

    def since(self, before: CpuClock) -> dict[str, float]:
        return {part: seconds - before.seconds[part] for part, seconds in self.seconds.items()}


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system
