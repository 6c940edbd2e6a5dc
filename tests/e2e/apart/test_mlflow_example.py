"""The example that needs MLflow, as whoever clones this runs it. ``make test-records`` runs it where there is one."""

from __future__ import annotations

import tempfile
from pathlib import Path

import psutil
import pytest

from tests.support import mlflow_server
from tests.support.examples import answers, run


@pytest.mark.skipif(not mlflow_server.is_installed, reason="needs mlflow, its server too")
@pytest.mark.timeout(600)
def test_what_an_alias_of_mlflow_names_is_served_and_promoted_under_load() -> None:
    with tempfile.TemporaryDirectory() as folder:
        shown = run("mlflow_to_production.py", TMPDIR=folder)
        left = [one for one in psutil.process_iter(["cmdline"]) if folder in " ".join(one.info["cmdline"] or ())]
        left += [one for kind in ("mlflow", "example") for one in Path(folder).glob(f"penstock-{kind}-*")]
    assert left == []
    assert "PROMOTED after" in shown
    assert "version 2 of MLflow's" in shown
    assert "failed requests: 0\n" in shown
    (_, before), (count, after) = answers(shown, 1), answers(shown, 2)
    assert count > 200
    assert after > before
