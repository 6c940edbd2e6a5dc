"""More models than a node has room for: every one answers, and no more run than may."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest

from penstock.client import Client
from penstock.serving import Serving
from tests.support import models
from tests.support.suite import Suite, wait_until

ROOM = 3
MODELS = [f"m{number}" for number in range(8)]
PINNED = MODELS[2]


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    """A suite with more models than it may run, one of them pinned when others had the room."""
    path = models.identity_onnx(tmp_path_factory.mktemp("models") / "identity.onnx")
    with Suite(PENSTOCK_INFERENCE__MAX_INSTANCES=str(ROOM)) as suite, client_of(suite) as client:
        files = client.upload(path)
        for name in MODELS:
            version = client.wait_validated(client.create_version(name, files).name)
            client.deploy(name, version.name)
        suite.command("deploy", str(path), "--name", PINNED, "--pin")
        wait_until(lambda: PINNED in running(suite) and len(running(suite)) == ROOM)
        yield suite


def client_of(suite: Suite) -> Client:
    return Client(registry=suite.registry_address, gateway=suite.grpc_address)


def running(suite: Suite) -> list[str]:
    """The models that have a process."""
    with client_of(suite) as client:
        return [one.name.removeprefix("deployments/") for one in client.deployments() if one.instances]


def process_count(suite: Suite) -> int:
    """Of model processes, as the operating system has them."""
    count = 0
    for process in suite.processes():
        try:
            count += "services.inference.model_process" in process.cmdline()
        except psutil.NoSuchProcess:
            continue
    return count


def ask(suite: Suite, name: str, *, timeout_s: float = 60.0) -> None:
    """Ask a model, and check its answer."""
    sent = np.random.default_rng().standard_normal((2, 16)).astype("f4")
    with client_of(suite) as client:
        outputs = client.infer(name, {"INPUT0": sent}, timeout_s=timeout_s)
    np.testing.assert_array_equal(outputs["OUTPUT0"], sent)


def test_each_is_ready_and_those_without_room_say_that_they_sleep(crowded: Suite) -> None:
    listed = {
        one["version"]["name"].split("/")[1]: one["is_asleep"]
        for one in crowded.command("models")
        if one["is_deployed"]
    }
    assert sorted(listed) == MODELS
    assert sum(listed.values()) == len(MODELS) - ROOM
    with client_of(crowded) as client:
        assert all(map(client.is_ready, MODELS))


def test_each_answers_in_turn_and_no_more_run_than_may(crowded: Suite) -> None:
    for name in MODELS * 2:
        ask(crowded, name)
        assert process_count(crowded) <= ROOM
        assert PINNED in running(crowded)


def test_all_that_are_asked_at_once_answer_in_time(crowded: Suite) -> None:
    with ThreadPoolExecutor(len(MODELS)) as pool:
        calls = [pool.submit(ask, crowded, name) for name in MODELS]
        while not all(call.done() for call in calls):
            assert process_count(crowded) <= ROOM
        for call in calls:
            call.result()
    assert PINNED in running(crowded)


@pytest.mark.parametrize("part", ["registry", "inference", "redis"])
def test_a_request_that_waits_for_its_model_outlives_a_part_that_is_killed(crowded: Suite, part: str) -> None:
    cold = next(name for name in MODELS if name not in running(crowded))
    with ThreadPoolExecutor() as pool:
        call = pool.submit(ask, crowded, cold)
        psutil.Process(crowded.pid_of(part)).send_signal(signal.SIGKILL)
        call.result()
    wait_until(lambda: crowded.command("status", check=False).get("is_ready"), within=60)


def test_a_pin_can_be_taken_back(crowded: Suite) -> None:
    with client_of(crowded) as client:
        version = client.deployment(PINNED).versions[-1]
        client.deploy(PINNED, version, serving=Serving(pinned=False))
    others = [name for name in MODELS if name != PINNED]
    wait_until(lambda: [ask(crowded, name) for name in others] and PINNED not in running(crowded), within=120)
    ask(crowded, PINNED)
