"""Small disks that can be filled: tmpfs, which takes root."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

_FILLER = "filler"


class SmallDisk:
    """A tmpfs over a folder. Without root it is none, and :attr:`obstacle` says so."""

    def __init__(self, folder: Path, *, mebibytes: int) -> None:
        self._folder = folder
        self._mebibytes = mebibytes
        self.obstacle = "" if os.geteuid() == 0 else "a disk of its own takes root"

    def mount(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.obstacle:
            return
        options = f"size={self._mebibytes}m,mode=0700"
        command = ["mount", "-t", "tmpfs", "-o", options, "penstock-chaos", str(self._folder)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            self.obstacle = f"no disk of its own: {done.stderr.strip()}"

    def unmount(self) -> None:
        if not self.obstacle and os.path.ismount(self._folder):
            subprocess.run(["umount", "--lazy", str(self._folder)], check=True)

    def fill(self) -> None:
        """Take all that is free."""
        with (self._folder / _FILLER).open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1 << 16))
        with (self._folder / _FILLER).open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1 << 10))

    def clear(self) -> None:
        """Give it back."""
        (self._folder / _FILLER).unlink(missing_ok=True)
