"""The environment of processes that load models; apart from the settings, whose library takes long to import."""

from __future__ import annotations

import os
import re
from pathlib import Path

_MODEST = {
    **dict.fromkeys(("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_OFFLINE", "DO_NOT_TRACK"), "1"),
    "TOKENIZERS_PARALLELISM": "false",
}
"""Libraries that run models report to their makers, or take all processors, unless they are told not to."""

_SECRET = re.compile(r"(PENSTOCK|CONSUL)_|.*(TOKEN|SECRET|PASSWORD|CREDENTIAL|API_KEY)")
"""What foreign models must not find in their environment. They are told all that they need."""


def model_environment() -> dict[str, str]:
    """The environment of processes that load models."""
    return _MODEST | {name: value for name, value in os.environ.items() if not _SECRET.match(name)}


def move_home(folder: Path) -> None:
    """Have this process' libraries keep what they keep for a user, and temporary files, in a folder."""
    os.environ |= dict.fromkeys(("HOME", "TMPDIR", "CUDA_CACHE_PATH"), str(folder))
