"""From the registry's resources to lanes, routes and what is said of them."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.registry.v1 import registry_service_pb2 as registry_pb
from penstock.registry.v1.resources_pb2 import (
    Alias,
    BatchingConfig,
    Deployment,
    InstanceStatus,
    Model,
    ModelVersion,
    QueueConfig,
    Signature,
    TensorSpec,
    TrafficSplit,
)
from services.common.watch import ResourceCache
from services.gateway import descriptions
from services.gateway.catalog import Catalog, served_version
from services.gateway.domain.routing import RoutingTable


def version_of(name: str, **signature: Any) -> ModelVersion:
    tensor = {"datatype": "FP32", "shape": [-1, 4]}
    return ModelVersion(
        name=name,
        format="onnx",
        signature=Signature(
            inputs=[TensorSpec(name="X", **tensor)],
            outputs=[TensorSpec(name="Y", **tensor)],
            **{"batchable": True, **signature},
        ),
    )


class Scene:
    def __init__(self) -> None:
        self.resources = ResourceCache(lambda: None)
        self.catalog = Catalog(clock=lambda: 0.0)
        self.put(model=Model(name="models/m"))
        for number in (1, 2):
            self.put(model_version=version_of(f"models/m/versions/{number}"))

    def put(self, **resource: Any) -> None:
        self.resources.apply(registry_pb.WatchResourcesResponse(revision=1, **resource))

    def deploy(self, *numbers: int, **desired: Any) -> RoutingTable:
        names = [f"models/m/versions/{number}" for number in numbers]
        self.put(deployment=Deployment(name="deployments/m", versions=names, **desired))
        self.resources.is_complete = True
        return self.catalog.rebuild(self.resources)


def test_a_deployment_makes_lanes_that_outlive_its_changes() -> None:
    scene = Scene()
    lane = scene.deploy(1).resolve("m", "")
    lane.statistics.inference_count = 7
    routes = scene.deploy(1, 2, queue=QueueConfig(max_queue_size=5))
    assert routes.resolve("m", "1") is lane
    assert lane.version.max_queue_size == 5
    assert routes.resolve("m", "").version.version == "2"


def test_a_lane_stays_until_its_last_request_is_settled() -> None:
    scene = Scene()
    lane = scene.deploy(1, 2).resolve("m", "1")
    lane.unsettled = 1
    scene.deploy(2)
    assert scene.catalog.find("m", "1") is lane
    assert not lane.is_deployed
    lane.unsettled = 0
    scene.catalog.drop_settled()
    assert scene.catalog.find("m", "1") is None


def test_a_deployment_whose_version_has_not_been_heard_of_waits() -> None:
    scene = Scene()
    assert scene.deploy(3).models == {}


def test_aliases_lead_to_deployed_versions() -> None:
    scene = Scene()
    scene.put(alias=Alias(name="models/m/aliases/production", version="models/m/versions/1"))
    assert scene.deploy(1, 2).resolve("m", "production").version.version == "1"


def test_defaults_are_those_of_the_registrys_api() -> None:
    served = served_version(Deployment(), version_of("models/m/versions/1"))
    assert (served.max_batch_size, served.max_queue_size, served.default_timeout_us) == (64, 10_000, 60_000_000)
    assert (served.max_attempts, served.priority_levels, served.default_priority, served.replicas) == (3, 0, 0, 1)


@pytest.mark.parametrize(
    ("wanted", "limit", "batchable", "expected"),
    [(0, 0, True, 64), (0, 16, True, 16), (8, 0, True, 8), (8, 4, True, 4), (1, 0, True, 1), (8, 8, False, 0)],
)
def test_max_batch_size(wanted: int, limit: int, batchable: bool, expected: int) -> None:
    version = version_of("models/m/versions/1", max_batch_size=limit, batchable=batchable)
    deployment = Deployment(batching=BatchingConfig(max_batch_size=wanted))
    assert served_version(deployment, version).max_batch_size == expected


def test_one_priority_level_is_none_and_the_lowest_is_the_default() -> None:
    version = version_of("models/m/versions/1")
    one = served_version(Deployment(queue=QueueConfig(priority_levels=1, default_priority_level=1)), version)
    three = served_version(Deployment(queue=QueueConfig(priority_levels=3)), version)
    assert (one.priority_levels, one.default_priority) == (0, 0)
    assert (three.priority_levels, three.default_priority) == (3, 3)


def test_config_leaves_the_batch_dimension_out_and_metadata_keeps_it() -> None:
    scene = Scene()
    lane = scene.deploy(1, batching=BatchingConfig(max_batch_size=8, max_queue_delay_microseconds=100)).resolve("m", "")
    config, metadata = descriptions.config(lane.version), descriptions.metadata(lane, versions=["1"])
    assert config["input"] == [{"name": "X", "data_type": "TYPE_FP32", "dims": [4]}]
    assert config["dynamic_batching"]["max_queue_delay_microseconds"] == 100
    assert metadata["inputs"] == [{"name": "X", "datatype": "FP32", "shape": [-1, 4]}]
    assert (metadata["platform"], config["backend"]) == ("onnxruntime_onnx", "onnxruntime")


def test_a_version_without_batch_dimension_has_no_batching() -> None:
    version = version_of("models/m/versions/1", batchable=False)
    version.format = "torch_export"
    config = descriptions.config(served_version(Deployment(), version))
    assert (config["max_batch_size"], config["input"][0]["dims"]) == (0, [-1, 4])
    assert "dynamic_batching" not in config
    assert config["platform"] == "pytorch_libtorch"


def test_the_index_tells_what_serves_and_why_not() -> None:
    scene = Scene()
    scene.put(model=Model(name="models/idle"))
    instances = [
        InstanceStatus(version="models/m/versions/1", state=InstanceStatus.STATE_LOADING),
        InstanceStatus(version="models/m/versions/2", state=InstanceStatus.STATE_UNAVAILABLE, reason="crash loop"),
    ]
    routes = scene.deploy(1, 2, instances=instances)
    assert descriptions.index(scene.resources, routes, ready=False) == [
        {"name": "idle", "version": "", "state": "UNAVAILABLE", "reason": "not deployed"},
        {"name": "m", "version": "1", "state": "LOADING", "reason": ""},
        {"name": "m", "version": "2", "state": "UNAVAILABLE", "reason": "crash loop"},
    ]
    routes.resolve("m", "1").observe_consumers(1, now=0.0)
    ready = [{"name": "m", "version": "1", "state": "READY", "reason": ""}]
    assert descriptions.index(scene.resources, routes, ready=True) == ready


def test_a_change_of_one_model_leaves_what_was_read_of_others() -> None:
    scene = Scene()
    lane = scene.deploy(1).resolve("m", "1")
    before = lane.version
    scene.put(model_version=version_of("models/other/versions/1"))
    scene.put(deployment=Deployment(name="deployments/other", versions=["models/other/versions/1"]))
    scene.catalog.rebuild(scene.resources)
    assert lane.version is before
    scene.deploy(1, queue=QueueConfig(max_queue_size=5))
    assert lane.version.max_queue_size == 5


def test_a_split_divides_what_names_no_version_until_it_is_gone() -> None:
    scene = Scene()
    said = TrafficSplit(candidate="models/m/versions/2", baseline="models/m/versions/1", sticky_key="user")
    table = scene.deploy(2, 1, split=said)
    one, two = table.resolve("m", "1"), table.resolve("m", "2")
    assert (table.resolve("m", ""), table.split_of("m", ""), two.arm) == (one, None, ""), "it has not begun"
    for shares, arm in (({"candidate_share": 0.1}, "canary"), ({"shadow_share": 0.5}, "shadow")):
        said = TrafficSplit(candidate="models/m/versions/2", baseline="models/m/versions/1", **shares)
        table = scene.deploy(2, 1, split=said)
        split = table.split_of("m", "")
        assert split is not None
        assert (split.candidate, split.baseline, split.candidate_share) == (two, one, said.candidate_share)
        assert (one.arm, two.arm) == ("", arm)
        assert table.split_of("m", "2") is None
        assert table.split_of("m", "1") is None
    table = scene.deploy(1, 2)
    assert (table.resolve("m", ""), table.split_of("m", ""), two.arm) == (two, None, "")


def test_a_split_with_a_version_that_is_not_there_divides_nothing() -> None:
    scene = Scene()
    said = TrafficSplit(candidate="models/m/versions/3", baseline="models/m/versions/1", candidate_share=0.5)
    table = scene.deploy(1, split=said)
    assert table.split_of("m", "") is None
    assert table.splits == []
