"""Models that update themselves: what comes to lie in a folder is served, and what follows it is rolled out."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from penstock import Client, sources
from penstock.registry.v1.rollout_service_pb2 import RolloutPlan
from penstock.registry.v1.source_service_pb2 import Source
from tests.support import models
from tests.support.suite import Suite, wait_until


@pytest.mark.timeout(180)
def test_a_folder_of_numbers_is_served_and_followed(suite: Suite, tmp_path: Path) -> None:
    folder = tmp_path / "watched"
    for_all = RolloutPlan(strategy=RolloutPlan.STRATEGY_ALL_AT_ONCE)
    row = np.ones((1, 16), np.float32)
    with Client(registry=suite.registry_address, gateway=suite.grpc_address) as client:

        def put(number: int, model: Path) -> None:
            """As a careful writer does: beside, and then into its place."""
            (made := folder / f"tmp-{number}").mkdir(parents=True)
            shutil.copy(model, made / "model.onnx")
            made.rename(folder / str(number))

        def is_serving(number: int) -> bool:
            deployed = {one.name: one for one in client.deployments()}.get("deployments/watched")
            name = f"models/watched/versions/{number}"
            return deployed is not None and list(deployed.versions) == [name] and client.is_ready("watched")

        put(1, models.identity_onnx(tmp_path / "one.onnx"))
        client.sources.add("watched", "watched", sources.folder(str(folder)), poll_s=1.0, settle_s=0.2, plan=for_all)
        wait_until(lambda: is_serving(1), within=60)
        (answer,) = client.infer("watched", {"INPUT0": row}).values()
        assert np.array_equal(answer, row)

        put(2, models.identity_onnx(tmp_path / "two.onnx", width=17))  # other inputs: all at once takes them
        wait_until(lambda: is_serving(2), within=90)

        (folder / "3").mkdir()
        (folder / "3" / "model.onnx").write_bytes(b"no model")
        wait_until(lambda: client.sources.get("watched").state == Source.STATE_FAILING, within=60)
        assert "version 3 was rejected" in client.sources.get("watched").state_reason
        assert is_serving(2)

        oldest = client.sources.lineage("models/watched/versions/2")[-1]
        assert (oldest.version.name, oldest.version.lineage.revision) == ("models/watched/versions/1", "1")
        client.sources.remove("watched")
        client.undeploy("watched")
