"""An environment with river, below ``build/evaluation``: it is too heavy to be installed for all."""

from __future__ import annotations

import sys
from pathlib import Path

from tools import setup

FOLDER = setup.ROOT / "build" / "evaluation" / "river"
PACKAGES = ("river>=0.22,<1",)


def installed() -> str:
    """Its Python; returns at once when nothing changed.

    Raises:
        InstallError: pip failed.
    """
    python, stamp = FOLDER / "bin" / "python", FOLDER / "penstock-evaluation"
    state = f"{sys.version} {PACKAGES}"
    if not (stamp.is_file() and stamp.read_text() == state):
        stamp.unlink(missing_ok=True)
        setup.make_venv(FOLDER)
        setup.pip("river", *PACKAGES, python=Path(python))
        stamp.write_text(state)
    return str(python)
