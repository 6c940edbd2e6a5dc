"""New versions on their way to a model's traffic, in a whole suite, while clients ask."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton

from penstock import errors
from penstock.client import Client
from penstock.monitor.v1.verdict_service_pb2 import Guardrail
from penstock.registry.v1.rollout_service_pb2 import Rollout
from tests.support import commands, models
from tests.support.load import identity_load
from tests.support.suite import Suite, wait_until

pytestmark = pytest.mark.timeout(240)

QUICK = [Guardrail(signal=Guardrail.SIGNAL_ERROR_RATE, margin=0.05)]
"""Proven in seconds; the monitor's default takes minutes."""
BALANCED = [0.2, 0.6]
USERS = [f"user-{number}" for number in range(60)]


@pytest.fixture(scope="module")
def suite() -> Iterator[Suite]:
    with Suite() as running:
        yield running


@pytest.fixture(scope="module")
def client(suite: Suite) -> Iterator[Client]:
    with Client(
        registry=suite.registry_address, gateway=suite.grpc_address, monitor=suite.monitor_address
    ) as connected:
        yield connected


@pytest.fixture
def model(request: pytest.FixtureRequest, client: Client) -> Iterator[str]:
    """A name for a model, which is undeployed in the end."""
    name = request.node.name.replace("_", "-").removeprefix("test-")[:40].strip("-")
    yield name
    client.undeploy(name)


def add(client: Client, model: str, path: Path) -> str:
    """Make a file the next version of a model; return its number."""
    version = client.create_version(model, client.upload(path))
    client.wait_validated(version.name)
    return version.name.rpartition("/")[2]


def serve(client: Client, model: str, first: Path, second: Path) -> None:
    """Deploy version 1, and have a READY version 2 beside it."""
    version = client.create_version(model, client.upload(first))
    client.wait_validated(version.name)
    client.deploy(model, version.name)
    add(client, model, second)


def until(client: Client, rollout: Rollout, is_there: Callable[[Rollout], Any]) -> Rollout:
    """Follow a rollout until it is as it is to be, or over."""
    for found in client.rollouts.watch(rollout.name):
        if is_there(found):
            return found
    raise AssertionError(f"{rollout.name} ended as {Rollout.State.Name(found.state)}: {found.state_reason}")


def is_in(state: Rollout.State, *, step: int | None = None) -> Callable[[Rollout], bool]:
    return lambda one: one.state == state and step in (None, one.step)


async def test_a_canary_is_promoted_step_by_step_and_nobody_notices(
    suite: Suite, client: Client, model: str, tmp_path: Path
) -> None:
    same = models.identity_onnx(tmp_path / "identity.onnx")
    await asyncio.to_thread(serve, client, model, same, same)
    client.set_alias(model, "live", f"models/{model}/versions/1")
    async with identity_load(suite.grpc_address, model=model, clients=4, pause_s=0.01) as outcome:
        await outcome.more(100)
        assert set(outcome.versions) == {"1"}
        rollout = client.rollouts.start(
            model, "2", steps=BALANCED, guardrails=QUICK, min_requests=100, min_duration_s=2.0, alias="live"
        )
        assert [one["candidate"] for one in suite.command("status")["rollouts"]] == [f"models/{model}/versions/2"]
        assert len(suite.command("watch", "--once", "--model", model)["rollouts"]) == 1
        done = await asyncio.to_thread(
            commands.run, suite.environ, "rollout", "status", model, "--watch", timeout_s=180
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert outcome.versions["2"] > 200
        before = outcome.versions["1"]
        await outcome.more(200)
        assert outcome.versions["1"] - before <= 4  # those under way just then
    assert (outcome.wrong, dict(outcome.errors)) == (0, {})
    for told in ("step 1 of 2: 20 %", "step 2 of 2: 60 %", "promoted  step 2 is proven safe", "error_rate"):
        assert told in done.stdout

    found = suite.command("rollout", "status", model)
    assert (found["name"], found["state"]) == (rollout.name, "STATE_PROMOTED")
    assert [one["state"] for one in found["events"]] == [
        "STATE_LOADING", "STATE_RUNNING", "STATE_RUNNING", "STATE_PROMOTED",
    ]  # fmt: skip
    assert [one["name"] for one in suite.command("rollout", "history", model)] == [rollout.name]
    assert {one.name: one.version for one in client.aliases(model)} == {
        f"models/{model}/aliases/live": f"models/{model}/versions/2"
    }
    actions = [one["action"] for one in suite.command("audit", "--model", model)]
    assert {"rollout.create", "rollout.promote"} <= set(actions)


async def test_wrong_weights_are_rolled_back_within_200_requests(
    suite: Suite, client: Client, model: str, tmp_path: Path
) -> None:
    digits = models.digits()
    noise = np.random.default_rng(0).normal(0, 0.1, digits.weights.shape).astype(np.float32)
    right, wrong = tmp_path / "digits.onnx", tmp_path / "noise.onnx"
    await asyncio.to_thread(serve, client, model, models.digits_onnx(right), models.digits_onnx(wrong, weights=noise))
    rollout = client.rollouts.start(model, "2", steps=[0.1, 0.5])
    count = 0
    connection = triton.InferenceServerClient(suite.grpc_address)
    while client.rollouts.get(rollout.name).state not in (Rollout.STATE_ROLLED_BACK, Rollout.STATE_PROMOTED):
        for image in digits.images[:20]:
            tensor = triton.InferInput("image", [1, 64], "FP32")
            tensor.set_data_from_numpy(image[np.newaxis])
            answer = connection.infer(model, [tensor])
            count += answer.get_response().model_version == "2"
            await asyncio.sleep(0.01)
    connection.close()
    found = client.rollouts.get(rollout.name)
    assert (found.state, "version 2 is worse" in found.state_reason) == (Rollout.STATE_ROLLED_BACK, True)
    assert 10 < count <= 200
    assert list(client.deployment(model).versions) == [f"models/{model}/versions/1"]


async def test_a_candidate_that_is_killed_loses_no_request_and_is_rolled_back(
    suite: Suite, client: Client, model: str, tmp_path: Path
) -> None:
    slow = models.slow_onnx(tmp_path / "slow.onnx", loops=5_000)
    await asyncio.to_thread(serve, client, model, slow, slow)
    rollout = client.rollouts.start(model, "2", steps=[0.5], is_manual=True)
    await asyncio.to_thread(until, client, rollout, is_in(Rollout.STATE_RUNNING))
    async with identity_load(suite.grpc_address, model=model, clients=8) as outcome:
        await outcome.more(200)
        assert outcome.versions["2"] > 20
        (candidate,) = (one for one in client.deployment(model).instances if one.version == rollout.candidate)
        os.kill(candidate.pid, signal.SIGKILL)
        found = await asyncio.to_thread(until, client, rollout, is_in(Rollout.STATE_ROLLED_BACK))
        await outcome.more(200)
    assert (outcome.wrong, dict(outcome.errors)) == (0, {})
    assert found.state_reason.startswith("its process crashed: ")
    assert suite.command("rollout", "status", model, "--watch", check=False)["state"] == "STATE_ROLLED_BACK"


async def test_blue_green_takes_all_at_once_and_gives_it_back(
    suite: Suite, client: Client, model: str, tmp_path: Path
) -> None:
    same = models.identity_onnx(tmp_path / "identity.onnx")
    await asyncio.to_thread(serve, client, model, same, same)
    async with identity_load(suite.grpc_address, model=model, clients=4, pause_s=0.01) as outcome:
        started = await asyncio.to_thread(
            suite.command, "rollout", "start", model, "2", "--strategy", "blue-green", "--wait"
        )
        assert started["state"] == "STATE_PROMOTED"
        before = outcome.versions["1"]
        await outcome.more(200)
        assert outcome.versions["1"] - before <= 4
        back = await asyncio.to_thread(suite.command, "rollout", "rollback", model, "--reason", "users complain")
        assert (back["state"], "users complain" in back["state_reason"]) == ("STATE_ROLLED_BACK", True)
        await asyncio.sleep(1.0)
        before = outcome.versions["2"]
        await outcome.more(200)
        assert outcome.versions["2"] - before <= 4
    assert (outcome.wrong, dict(outcome.errors)) == (0, {})
    again = commands.run(suite.environ, "rollout", "rollback", model)
    assert (again.returncode, "there is nothing to roll back" in again.stderr) == (1, True)


def _versions_by_user(suite: Suite, model: str) -> dict[str, dict[str, str]]:
    """Which version each user gets: by metadata, by header, by parameter."""
    found: dict[str, dict[str, str]] = {"metadata": {}, "header": {}, "parameter": {}}
    connection = triton.InferenceServerClient(suite.grpc_address)
    url = f"http://{suite.http_address}/v2/models/{model}/infer"
    data = {"name": "INPUT0", "datatype": "FP32", "shape": [1, 16], "data": [0.0] * 16}
    with httpx.Client(timeout=30) as http:
        for user in USERS:
            tensor = triton.InferInput("INPUT0", [1, 16], "FP32")
            tensor.set_data_from_numpy(np.zeros((1, 16), np.float32))
            answer = connection.infer(model, [tensor], headers={"user": user})
            found["metadata"][user] = answer.get_response().model_version
            by_header = http.post(url, json={"inputs": [data]}, headers={"User": user})
            found["header"][user] = by_header.json()["model_version"]
            by_parameter = http.post(url, json={"inputs": [data], "parameters": {"user": user}})
            found["parameter"][user] = by_parameter.json()["model_version"]
    connection.close()
    return found


async def test_who_has_the_same_key_gets_the_same_version_everywhere(
    suite: Suite, client: Client, model: str, tmp_path: Path
) -> None:
    same = models.identity_onnx(tmp_path / "identity.onnx")
    await asyncio.to_thread(serve, client, model, same, same)
    rollout = client.rollouts.start(model, "2", strategy="ab", steps=[0.3, 0.6], sticky_key="user")
    await asyncio.to_thread(until, client, rollout, is_in(Rollout.STATE_RUNNING))

    first = await asyncio.to_thread(_versions_by_user, suite, model)
    assert first["metadata"] == first["header"] == first["parameter"]
    with_candidate = {user for user, version in first["metadata"].items() if version == "2"}
    assert 6 <= len(with_candidate) <= 32  # of 60 with 30 %: more than three sigmas

    await asyncio.to_thread(suite.restart, "gateway")
    assert await asyncio.to_thread(_versions_by_user, suite, model) == first

    promoted = await asyncio.to_thread(suite.command, "rollout", "promote", model)
    assert (promoted["state"], promoted["step"]) == ("STATE_RUNNING", 1)
    await asyncio.sleep(1.0)
    later = await asyncio.to_thread(_versions_by_user, suite, model)
    grown = {user for user, version in later["metadata"].items() if version == "2"}
    assert with_candidate < grown
    client.rollouts.promote(rollout.name)
    assert client.rollouts.get(rollout.name).state == Rollout.STATE_PROMOTED


async def test_a_shadow_whose_answers_differ_is_rolled_back_unseen(
    suite: Suite, client: Client, model: str, tmp_path: Path
) -> None:
    right = models.folder_onnx(tmp_path / "right", bias=0.0)
    wrong = models.folder_onnx(tmp_path / "wrong", bias=100.0)
    await asyncio.to_thread(serve, client, model, right, wrong)
    rollout = client.rollouts.start(model, "2", strategy="shadow", pair_tolerance=1e-3)
    async with identity_load(suite.grpc_address, model=model, clients=4, pause_s=0.01) as outcome:
        found = await asyncio.to_thread(until, client, rollout, is_in(Rollout.STATE_ROLLED_BACK))
        await outcome.more(100)
    assert (outcome.wrong, dict(outcome.errors), set(outcome.versions)) == (0, {}, {"1"})
    (pairs,) = (one for one in found.verdict.guardrails if one.key == "disagreement")
    assert pairs.is_harmed, found.state_reason


async def test_of_two_operators_at_once_one_is_told_to_look_again(
    suite: Suite, client: Client, model: str, tmp_path: Path
) -> None:
    same = models.identity_onnx(tmp_path / "identity.onnx")
    await asyncio.to_thread(serve, client, model, same, same)
    rollout = client.rollouts.start(model, "2", steps=BALANCED, is_manual=True)
    seen = await asyncio.to_thread(until, client, rollout, is_in(Rollout.STATE_RUNNING, step=0))

    def promote() -> int:
        try:
            return client.rollouts.promote(seen.name, etag=seen.etag).step
        except errors.AbortedError:
            return -1

    assert sorted(await asyncio.gather(*(asyncio.to_thread(promote) for _ in range(4)))) == [-1, -1, -1, 1]
    late = commands.run(suite.environ, "rollout", "hold", model, "--etag", seen.etag)
    assert (late.returncode, "Somebody was faster" in late.stderr) == (1, True)

    other = commands.run(suite.environ, "rollout", "start", model, "2")
    assert (other.returncode, seen.name in other.stderr) == (1, True)
    with pytest.raises(errors.FailedPreconditionError, match=seen.name):
        client.deploy(model, f"models/{model}/versions/2")

    held = suite.command("rollout", "hold", model, "--reason", "until the game is over")
    assert held["state"] == "STATE_HELD"
    waited = commands.run(suite.environ, "rollout", "status", model, "--watch", "--json")
    assert waited.returncode == 4
    assert suite.command("rollout", "resume", model)["state"] == "STATE_RUNNING"

    async with identity_load(suite.grpc_address, model=model, clients=4) as outcome:
        await outcome.more(1_000)
    share = outcome.versions["2"] / outcome.versions.total()
    assert abs(share - BALANCED[1]) < 0.08  # five sigmas of a thousand
    assert suite.command("rollout", "promote", model)["state"] == "STATE_PROMOTED"


async def test_a_deployment_may_be_a_rollout(suite: Suite, client: Client, model: str, tmp_path: Path) -> None:
    path = str(models.identity_onnx(tmp_path / "identity.onnx"))
    deploy = ("deploy", path, "--name", model, "--rollout", "all-at-once")
    first = await asyncio.to_thread(suite.command, *deploy)
    assert "rollout" not in first  # there was nobody's traffic to try it on
    second = await asyncio.to_thread(suite.command, *deploy)
    assert second["rollout"]["state"] == "STATE_PROMOTED"
    wait_until(lambda: list(client.deployment(model).versions) == [f"models/{model}/versions/2"])
