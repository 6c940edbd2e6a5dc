"""A version is made faster while it is under load: nothing is lost, and it stays as fast."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.registry.v1 import registry_service_pb2 as registry_pb
from penstock.registry.v1 import resources_pb2 as pb
from tests.support.load import identity_load
from tests.support.suite import Suite, wait_until

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def fast() -> Iterator[Suite]:
    """A suite that optimises."""
    with Suite(
        PENSTOCK_INFERENCE__OPTIMIZATION="fast",
        PENSTOCK_INFERENCE__OPTIMIZATION_NICENESS="0",  # at the lowest priority it would wait for the load to end
    ) as running:
        yield running


def _found(suite: Suite) -> pb.Optimization:
    request = registry_pb.GetModelVersionRequest(name="models/fast/versions/1")
    version = suite.registry.GetModelVersion(request).model_version
    return next(iter(version.optimizations), pb.Optimization())


def _variant(suite: Suite) -> dict[str, str]:
    request = registry_pb.GetDeploymentRequest(name="deployments/fast")
    (instance,) = suite.registry.GetDeployment(request).deployment.instances
    return dict(instance.variant) if instance.state == pb.InstanceStatus.STATE_READY else {}


async def test_a_search_and_its_outcome_fail_no_request(fast: Suite, model_files: dict[str, Path]) -> None:
    def run(action: Any, *arguments: Any, **options: Any) -> Any:
        return asyncio.to_thread(action, *arguments, **options)

    await run(fast.command, "deploy", str(model_files["identity"]), "--name", "fast", "--optimize", "fast")
    async with identity_load(fast.grpc_address, model="fast", clients=2) as outcome:
        await run(wait_until, lambda: _found(fast).state == pb.Optimization.STATE_COMPLETE, within=150)
        assert outcome.right
        found = _found(fast)
        # Whichever was faster here and now: let it be this one, as if another node had found out.
        del found.trials[:]
        found.variant.clear()
        found.variant["memory_pattern"] = "off"
        request = registry_pb.ReportOptimizationRequest(
            name="models/fast/versions/1", node="nodes/elsewhere", optimization=found
        )
        await run(fast.registry.ReportOptimization, request)
        await run(wait_until, lambda: _variant(fast) == {"memory_pattern": "off"}, within=60)
        await outcome.more(100)
    assert (outcome.wrong, dict(outcome.errors)) == (0, {})


def test_a_process_that_died_comes_back_as_fast(fast: Suite) -> None:
    (pid,) = fast.model_pids("fast")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: fast.model_pids("fast") not in ([], [pid]) and _variant(fast) == {"memory_pattern": "off"})


def test_what_was_tried_is_shown(fast: Suite) -> None:
    shown = fast.command("variants", "fast")
    assert shown["name"] == "models/fast/versions/1"
    assert shown["optimizations"][0]["variant"] == {"memory_pattern": "off"}
