"""README.md lists what there is."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_targets_of_make_are_those_of_its_help() -> None:
    told = subprocess.run(["make", "-s", "help"], cwd=ROOT, check=True, capture_output=True, text=True).stdout

    assert told in (ROOT / "README.md").read_text()
