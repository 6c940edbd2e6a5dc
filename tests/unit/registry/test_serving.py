"""What deployments may ask for, and when a node is gone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.common.errors import InvalidArgumentError
from services.registry.domain.resources import (
    BatchingConfig,
    Deployment,
    DeviceCapacity,
    InstanceState,
    InstanceStatus,
    NodeCapacity,
    NodeReport,
    QueueConfig,
    Slo,
)
from services.registry.domain.serving import (
    changed_models,
    check_report,
    normalise,
)

DEPLOYMENT = Deployment(model="m", versions=("models/m/versions/1",))
INSTANCE = InstanceStatus(instance="a.m.1.0", version="models/m/versions/1", node="nodes/a", state=InstanceState.READY)


@pytest.mark.parametrize(("asked", "got"), [(0, 1), (1, 1), (64, 64)])
def test_replicas_are_at_least_one(asked: int, got: int) -> None:
    assert normalise(replace(DEPLOYMENT, replicas=asked)).replicas == got


@pytest.mark.parametrize(
    "wrong",
    [
        {"versions": ()},
        {"versions": ("models/m/versions/1",) * 2},
        {"versions": ("models/other/versions/1",)},
        {"versions": tuple(f"models/m/versions/{number}" for number in range(1, 66))},
        {"replicas": -1},
        {"replicas": 65},
        {"batching": BatchingConfig(max_queue_delay_microseconds=-1)},
        {"queue": QueueConfig(max_queue_size=-1)},
        {"queue": QueueConfig(priority_levels=101)},
        {"queue": QueueConfig(default_priority_level=2)},
        {"slo": Slo(availability=1.0)},
        {"slo": Slo(availability=-0.1)},
        {"slo": Slo(availability=float("nan"))},
        {"slo": Slo(latency_seconds=-1.0)},
        {"slo": Slo(latency_seconds=3_601.0)},
        {"slo": Slo(latency_seconds=float("inf"))},
        {"slo": Slo(latency_seconds=0.2, latency_share=99.0)},
        {"slo": Slo(availability=0.9, latency_share=0.99)},
        {"slo": Slo(window_days=30)},
        {"slo": Slo(availability=0.9, window_days=6)},
        {"slo": Slo(availability=0.9, window_days=91)},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidArgumentError, match=r"got .*expected"):
        normalise(replace(DEPLOYMENT, **wrong))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        (Slo(), Slo()),
        (Slo(availability=0.999), Slo(availability=0.999, window_days=30)),
        (Slo(latency_seconds=0.2), Slo(latency_seconds=0.2, latency_share=0.99, window_days=30)),
        (Slo(0.9, 0.2, 0.95, 7), Slo(0.9, 0.2, 0.95, 7)),
    ],
    ids=str,
)
def test_what_a_promise_leaves_out_is_written_down(asked: Slo, kept: Slo) -> None:
    assert normalise(replace(DEPLOYMENT, slo=asked)).slo == kept


def test_a_report_is_sorted_and_signed() -> None:
    unsigned = [replace(INSTANCE, instance=name, node="", reason="x" * 5000) for name in ("b", "a")]

    checked = check_report(NodeReport(node="nodes/a", instances=tuple(unsigned)))

    assert [(one.instance, one.node, len(one.reason)) for one in checked.instances] == [
        ("a", "nodes/a", 4096),
        ("b", "nodes/a", 4096),
    ]


def test_models_change_with_any_of_their_instances() -> None:
    other = replace(INSTANCE, instance="a.n.1.0", version="models/n/versions/1")

    assert changed_models((INSTANCE, other), (INSTANCE, other)) == []
    assert changed_models((INSTANCE,), (INSTANCE, other)) == ["n"]
    assert changed_models((INSTANCE, other), ()) == ["m", "n"]
    assert changed_models((INSTANCE,), (replace(INSTANCE, progress=0.5),)) == ["m"]


def test_a_capacity_is_not_negative() -> None:
    for wrong in (
        NodeCapacity(free_memory_bytes=-1),
        NodeCapacity(free_cache_bytes=-1),
        NodeCapacity(devices=(DeviceCapacity("cuda:0", 1, -1),)),
        NodeCapacity(resident_bytes={"models/m/versions/1": -1}),
    ):
        with pytest.raises(InvalidArgumentError, match=r"got .*expected"):
            check_report(NodeReport(node="nodes/a", capacity=wrong))
