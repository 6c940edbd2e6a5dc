"""Which devices this node has, found without loading any machine-learning library."""

from __future__ import annotations

from pathlib import Path

_NVIDIA = Path("/proc/driver/nvidia/gpus")


def devices() -> list[str]:
    """Best first: "cuda:0", …, "cpu"."""
    count = len(list(_NVIDIA.iterdir())) if _NVIDIA.is_dir() else 0
    return [*(f"cuda:{number}" for number in range(count)), "cpu"]
