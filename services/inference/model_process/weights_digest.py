"""The digest of a version's files as they lie here when they are loaded."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path

_log = logging.getLogger(__name__)

_NICEST = 19


def digest_of_files(root: Path, names: Sequence[str]) -> str:
    """SHA-256 of the list of a version's files, by path, as sha256sum(1) prints it, which is the registry's formula.

    Raises:
        OSError: a file can't be read.
    """
    lines = []
    for name in sorted(names):
        with (root / name).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        lines.append(f"{digest}  {name}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


class WeightsDigest:
    """Hashes in a thread of its own, which steps back behind all others. ``value`` is empty until it is known.

    ``expected`` is what the registry says.
    """

    def __init__(self, root: Path, names: Sequence[str], *, expected: str) -> None:
        self.value = ""
        self.expected = expected
        self._root = root
        self._names = names
        if names:
            threading.Thread(target=self._compute, name="weights digest", daemon=True).start()

    def _compute(self) -> None:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICEST)  # of this thread only, in Linux
        try:
            self.value = digest_of_files(self._root, self._names)
        except OSError as error:
            _log.warning("the model's files can't be hashed: %s", error.strerror or error)
