"""What a node should run, what is to be done about it, and when a crash is a loop."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.registry.v1 import resources_pb2 as pb
from services.common.watch import ResourceCache
from services.inference.adapters.devices import Hardware
from services.inference.domain.content import Content, ModelFile
from services.inference.domain.fleet import Assignment, Batching, Slot, effective_batch_size, plan
from services.inference.domain.manifest import NOTHING_SAID, Manifest, Step
from services.inference.domain.restarts import CrashHistory
from services.inference.domain.signature import Signature, TensorSpec
from services.inference.domain.variants import ORIGINAL, Level, Variant
from services.inference.model_process.spec import ProcessSpec, consumer_name, is_successor
from services.inference.resources import desired, signature_from, signature_message

SIGNATURE = Signature(
    (TensorSpec("x", "FP32", (-1, 4)),), (TensorSpec("y", "FP32", (-1, 2)),), is_batchable=True, max_batch_size=32
)
NODE = "nodes/local"
HARDWARE = Hardware("some processor", is_gpu=False, threads=1)
FIRST = Assignment(
    Content("d" * 64, (ModelFile("m", "a" * 64, 1),)),
    "onnx",
    NOTHING_SAID,
    is_trusted=False,
    signature=SIGNATURE,
    batching=Batching(8),
)
SECOND = dataclasses.replace(FIRST, batching=Batching(16))


def slot(number: int) -> Slot:
    return Slot("m", "1", number)


states = st.dictionaries(st.integers(0, 5).map(slot), st.sampled_from([FIRST, SECOND]))


@given(states, states)
def test_after_its_steps_what_runs_is_what_is_desired(
    wanted: dict[Slot, Assignment], running: dict[Slot, Assignment]
) -> None:
    steps = plan(wanted, running)
    after = {one: assignment for one, assignment in running.items() if one not in steps.stop}
    after |= {one: wanted[one] for one in (*steps.start, *steps.replace)}
    assert after == wanted
    assert not (steps.start or steps.replace or steps.stop) or wanted != running


def resources(**deployment: object) -> ResourceCache:
    cache = ResourceCache(lambda: None)
    cache.versions["models/m/versions/1"] = pb.ModelVersion(
        name="models/m/versions/1",
        files=[pb.Artifact(sha256="a" * 64, size_bytes=1, path="m")],
        digest="d" * 64,
        format="onnx",
        signature=signature_message(SIGNATURE),
    )
    cache.deployments["deployments/m"] = pb.Deployment(
        name="deployments/m",
        versions=["models/m/versions/1", "models/m/versions/2"],
        placements=[
            pb.Placement(version=f"models/m/versions/{version}", replica=replica, node=node)
            for version in (1, 2)
            for replica, node in enumerate((NODE, NODE, "nodes/other"))
        ],
        **deployment,
    )
    return cache


def test_a_node_runs_what_is_placed_on_it_with_defaults_filled_in_and_what_is_unknown_is_left_out() -> None:
    wanted = desired(resources(), HARDWARE, node=NODE, limit=Level.FULL)
    assert list(wanted) == [slot(0), slot(1)]
    assert wanted[slot(0)].batching == Batching(max_batch_size=32, max_attempts=3, priority_levels=1)


def test_a_deployments_own_settings_are_taken_over() -> None:
    wanted = desired(
        resources(
            batching=pb.BatchingConfig(max_batch_size=4, max_queue_delay_microseconds=700),
            queue=pb.QueueConfig(max_attempts=1, priority_levels=3),
        ),
        HARDWARE,
        node=NODE,
        limit=Level.FULL,
    )
    assert wanted[slot(0)].batching == Batching(4, 700, 1, 3)


@pytest.mark.parametrize(
    ("hardware", "asked", "limit", "expected"),
    [
        (HARDWARE, pb.OPTIMIZATION_LEVEL_UNSPECIFIED, Level.FULL, Variant.of({"graph": "extended"})),
        (HARDWARE, pb.OPTIMIZATION_LEVEL_FAST, Level.FAST, Variant.of({"graph": "extended"})),
        (HARDWARE, pb.OPTIMIZATION_LEVEL_OFF, Level.FULL, ORIGINAL),
        (HARDWARE, pb.OPTIMIZATION_LEVEL_FULL, Level.OFF, ORIGINAL),
        (dataclasses.replace(HARDWARE, name="another"), pb.OPTIMIZATION_LEVEL_FAST, Level.FULL, ORIGINAL),
    ],
)
def test_what_was_found_on_the_same_hardware_is_used_unless_it_is_switched_off(
    hardware: Hardware, asked: pb.OptimizationLevel, limit: Level, expected: Variant
) -> None:
    cache = resources(optimization=asked)
    cache.versions["models/m/versions/1"].optimizations.add(
        hardware=HARDWARE.key("onnx"), variant={"graph": "extended"}
    )
    assert desired(cache, hardware, node=NODE, limit=limit)[slot(0)].variant == expected


def test_what_is_compiled_is_used_where_it_was_compiled_only() -> None:
    cache, compiled = resources(), Variant.of({"alone.compile": "ahead_of_time"})
    cache.versions["models/m/versions/1"].optimizations.add(
        hardware=HARDWARE.key("onnx"), variant=dict(compiled.options)
    )
    for is_there, expected in ((True, compiled), (False, ORIGINAL)):
        wanted = desired(
            cache, HARDWARE, node=NODE, limit=Level.FULL, has_product=lambda _, is_there=is_there: is_there
        )
        assert wanted[slot(0)].variant == expected


@pytest.mark.parametrize(
    ("configured", "of_file", "is_batchable", "expected"),
    [(0, 0, True, 64), (0, 32, True, 32), (100, 32, True, 32), (16, 32, True, 16), (16, 0, False, 1)],
)
def test_the_batch_size_is_what_was_asked_within_what_the_file_allows(
    configured: int, of_file: int, is_batchable: bool, expected: int
) -> None:
    signature = dataclasses.replace(SIGNATURE, is_batchable=is_batchable, max_batch_size=of_file)
    assert effective_batch_size(configured, signature) == expected


def test_signature_and_specification_survive_the_way_to_another_process() -> None:
    assert signature_from(signature_message(SIGNATURE)) == SIGNATURE
    spec = ProcessSpec("c", "m", "1", "/p", "torch_export", SIGNATURE, Batching(3, 4, 5, 6), "unix:///r")
    manifest = Manifest(max_batch_size=3, preprocessing=(Step("scale", {"by": 0.5}),))
    spec = dataclasses.replace(spec, variant=Variant.of({"graph": "frozen"}), manifest=manifest)
    assert ProcessSpec.from_json(spec.to_json()) == spec


def test_a_consumer_follows_the_one_in_its_place_that_another_agent_started() -> None:
    mine = consumer_name("n@ode.m.1.0", "life")
    assert consumer_name("n@ode.m.1.0", "life") != mine
    assert is_successor(consumer_name("n@ode.m.1.0", "next"), mine)
    assert is_successor(consumer_name("other.m.1.0", "elsewhere"), mine)
    assert not is_successor(consumer_name("n@ode.m.1.0", "life"), mine)
    assert not is_successor(consumer_name("n@ode.m.1.1", "next"), mine)
    assert is_successor("stranger", "other")


def test_pauses_double_to_half_a_minute() -> None:
    history, pauses = CrashHistory(), []
    for n in range(10):
        history = history.crashed(float(n), uptime_s=1)
        pauses.append(history.pause_s)
    assert pauses == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]
    assert history.crashed(100.0, uptime_s=61).pause_s == 0.2


def test_three_crashes_within_a_minute_are_a_loop_until_it_stays_up() -> None:
    twice = CrashHistory().crashed(0, uptime_s=1).crashed(10, uptime_s=1)
    loop = twice.crashed(59, uptime_s=1)
    assert not twice.is_loop(11, ready_since=None)
    assert loop.is_loop(60, ready_since=None)
    assert loop.is_loop(64, ready_since=60)
    assert not loop.is_loop(66, ready_since=60)
    assert not twice.crashed(61, uptime_s=1).is_loop(62, ready_since=None), "spread over more than a minute"
