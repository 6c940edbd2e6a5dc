"""Virtual environments for what is compared or used by the benchmarks, and is no part of Penstock."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
import venv
from collections.abc import Callable
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "penstock" / "peers"


class InstallError(Exception):
    """Something can't be installed; the message says why."""


def install(environment: Path, requirements: Path, say: Callable[[str], None]) -> None:
    """Make a virtual environment of pinned packages; returns at once when that was done before.

    A file ``constraints.txt`` beside the requirements pins what they need in turn.

    Raises:
        InstallError: pip failed.
    """
    constraints = requirements.with_name("constraints.txt")
    stamp = environment / "installed"
    state = hashlib.sha256(requirements.read_bytes() + constraints.read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text() == state:
        return
    say("making a virtual environment")
    venv.create(environment, clear=True, with_pip=True)
    command = [str(environment / "bin" / "python"), "-m", "pip", "install", "--no-input", "--progress-bar=off"]
    command += ["--requirement", str(requirements), "--constraint", str(constraints)]
    if index := os.environ.get("PENSTOCK_TORCH_INDEX"):
        command.append(f"--extra-index-url={index}")
    begin, collected, last = time.monotonic(), 0, list[str]()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True
    ) as pip:
        assert pip.stdout is not None
        for line in pip.stdout:
            last = [*last[-9:], line]
            collected += line.startswith("Collecting ")
            doing = "installing" if line.startswith("Installing collected") else f"{collected} packages found"
            say(f"{doing}, {time.monotonic() - begin:.0f} s")
    if pip.returncode:
        raise InstallError(f"pip failed:\n{''.join(last)}")
    stamp.write_text(state)
