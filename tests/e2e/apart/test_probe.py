"""``penstock probe``, and weights that change under models that run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.inference.model_process.golden_probe import SURE_AFTER
from tests.support.suite import Suite, wait_until

CODE = """
import numpy as np

class Model:
    def load(self, folder, options):
        self.weights = np.load(folder / "weights.npy", mmap_mode="r")

    def infer(self, inputs):
        return {"y": inputs["x"] * self.weights}
"""
MANIFEST = """
[options]
probe = "on"

[[inputs]]
name = "x"
datatype = "FP32"
shape = [-1, 4]

[[outputs]]
name = "y"
datatype = "FP32"
shape = [-1, 4]
"""


@pytest.fixture
def probed(tmp_path: Path) -> Iterator[Suite]:
    """A suite that probes every second, with two replicas of a model whose weights are mapped."""
    folder = tmp_path / "scaled"
    folder.mkdir()
    (folder / "model.py").write_text(CODE)
    (folder / "penstock.toml").write_text(MANIFEST)
    np.save(folder / "weights.npy", np.ones(4, np.float32))
    with Suite(PENSTOCK_INFERENCE__PROBE_PERIOD_S="1") as suite:
        suite.command("deploy", str(folder), "--name", "scaled", "--replicas", "2", "--trust", "--wait")
        yield suite


def probes(suite: Suite) -> list[dict[str, Any]]:
    return list(suite.command("probe", "scaled", check=False))


def wait_for_probes(suite: Suite, times: int) -> None:
    """Wait until each of two replicas has told of so many."""
    seen: dict[str, set[str]] = {}

    def are_enough() -> bool:
        for one in probes(suite):
            seen.setdefault(one["replica"], set()).add(one["probe_time"])
        return len(seen) == 2 and min(map(len, seen.values())) >= times

    wait_until(are_enough, within=60)


@pytest.mark.timeout(180)
def test_weights_that_change_under_all_replicas_are_the_versions_fault(probed: Suite) -> None:
    wait_until(lambda: len([one for one in probes(probed) if one["weights_sha256"]]) == 2, within=60)
    assert [one["outcome"] for one in probes(probed)] == ["OUTCOME_PASS"] * 2, "so the digest is the registry's"
    assert {(one["model"], one["version"], one["device"]) for one in probes(probed)} == {("scaled", "1", "cpu")}
    assert probed.command("incidents", "--model", "scaled") == []
    wait_for_probes(probed, SURE_AFTER)

    for path in probed.home.rglob("weights.npy"):
        weights = np.load(path, mmap_mode="r+")
        weights[2] = -3.0
        weights.flush()
    (incident,) = wait_until(lambda: version_incidents(probed), within=30)
    assert (incident["signal"], incident["severity"]) == ("SIGNAL_PROBE", "SEVERITY_PAGE")
    assert "answers its golden probe otherwise than after its load" in incident["summary"]
    assert "all of its 2 replicas do" in incident["summary"]
    assert "output 'y' differs" in probes(probed)[0]["detail"]


def version_incidents(suite: Suite) -> list[dict[str, Any]]:
    found = suite.command("incidents", "--model", "scaled")
    return [one for one in found if one["cause"] == "CAUSE_VERSION"]
