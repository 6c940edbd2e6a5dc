"""What this node has to compute with, found without loading any machine-learning library."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from services.inference.backends import library_of

_NVIDIA = Path("/proc/driver/nvidia/gpus")
_PROCESSORS = Path("/proc/cpuinfo")


def devices() -> list[str]:
    """Best first: "cuda:0", …, "cpu"."""
    count = len(list(_NVIDIA.iterdir())) if _NVIDIA.is_dir() else 0
    return [*(f"cuda:{number}" for number in range(count)), "cpu"]


@dataclass(frozen=True, slots=True)
class Hardware:
    """The kind of hardware that a node's models run on. What is fastest on it is fastest on all of its kind."""

    name: str
    is_gpu: bool
    threads: int

    @classmethod
    def of(cls, device: str, *, threads: int) -> Hardware:
        """That of this node for the device setting, "auto", "cpu" or "cuda:0"."""
        if device == "cpu" or len(devices()) == 1:
            count = len(os.sched_getaffinity(0))
            return cls(f"{_processor()}, {count} processors, {threads} threads", is_gpu=False, threads=threads)
        return cls(_fact(next(_NVIDIA.iterdir()) / "information", "Model") or "NVIDIA GPU", True, threads)

    @staticmethod
    def gpu(device: str) -> int | None:
        """The number of the GPU that models run on for the device setting; None where they run on the processors."""
        if device == "cpu" or len(devices()) == 1:
            return None
        return int(device.partition(":")[2] or 0)

    def key(self, model_format: str) -> str:
        """Names this hardware and the library that serves a format."""
        return f"{self.name}, {library_of(model_format)} {_release(library_of(model_format))}"[:255]


def _processor() -> str:
    return _fact(_PROCESSORS, "model name") or platform.machine()


def _fact(path: Path, name: str) -> str:
    """The first value of a name in one of the kernel's tables."""
    with contextlib.suppress(OSError):
        for line in path.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == name:
                return value.strip()
    return ""


@functools.cache  # reading it takes 0.4 ms, and is asked for each version at each report
def _release(library: str) -> str:
    for distribution in (library, f"{library}-gpu"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            return metadata.version(distribution)
    return "?"
