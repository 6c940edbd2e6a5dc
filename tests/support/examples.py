"""Examples as whoever clones this runs them: each ends by itself, and says how it went."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from tests.support.suite import Suite

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str, **environ: str) -> str:
    """What an example prints; it finds no suite on its ports, and starts one there."""
    done = start(name, **environ)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return done.stdout


def start(name: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """How an example ended, well or not."""
    with ExitStack() as stack:
        unstarted = Suite()
        stack.push(unstarted)
        own = ("PENSTOCK_HOME", "PENSTOCK_INFERENCE__OPTIMIZATION", "MLFLOW_TRACKING_URI")
        outer = {variable: text for variable, text in unstarted.environ.items() if variable not in own}
        command = [sys.executable, EXAMPLES / name]
        return subprocess.run(
            command, env={**outer, **environ}, check=False, capture_output=True, text=True, timeout=500
        )


def answers(shown: str, version: int) -> tuple[int, float]:
    """How many requests a version answered, and percent of them rightly."""
    found = re.search(rf"version {version}: (\d+) answers, ([\d.]+)% of them right", shown)
    assert found is not None, shown
    return int(found[1]), float(found[2])
