"""The examples that need no suite, as whoever clones this runs them: each ends by itself, and says how it went."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.suite import Suite

EXAMPLES = Path(__file__).parents[3] / "examples"


def run(name: str) -> str:
    """What an example prints; it finds no suite on its ports, and starts one there."""
    with ExitStack() as stack:
        unstarted = Suite()
        stack.push(unstarted)
        own = ("PENSTOCK_HOME", "PENSTOCK_INFERENCE__OPTIMIZATION")
        environ = {variable: text for variable, text in unstarted.environ.items() if variable not in own}
        done = subprocess.run(
            [sys.executable, EXAMPLES / name], env=environ, check=False, capture_output=True, text=True, timeout=500
        )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return done.stdout


def answers(shown: str, version: int) -> tuple[int, float]:
    """How many requests a version answered, and percent of them rightly."""
    found = re.search(rf"version {version}: (\d+) answers, ([\d.]+)% of them right", shown)
    assert found is not None, shown
    return int(found[1]), float(found[2])


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_better_version_is_promoted_under_load() -> None:
    shown = run("canary_promotion.py")
    assert "PROMOTED after" in shown
    assert "failed requests: 0\n" in shown
    (_, before), (count, after) = answers(shown, 1), answers(shown, 2)
    assert count > 1_000
    assert after > before


@pytest.mark.timeout(600)
def test_wrong_weights_are_rolled_back_under_load() -> None:
    shown = run("canary_rollback.py")
    assert "ROLLED_BACK: version 2 is worse" in shown
    assert "failed requests: 0\n" in shown
    count, right = answers(shown, 2)
    assert 0 < count <= 200
    assert right < 50


@pytest.mark.long
@pytest.mark.timeout(600)
def test_drift_has_a_model_trained_again_and_the_new_version_promoted_under_load() -> None:
    shown = run("drift_retraining.py")
    assert "PROMOTED: " in shown
    assert "failed requests: 0\n" in shown
    (_, before), (count, after) = answers(shown, 1), answers(shown, 2)
    assert count > 1_000
    assert after > 90 > before
