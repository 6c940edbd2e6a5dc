"""Gateway processes that take over from each other: no connection is refused, no request fails."""

from __future__ import annotations

import http.client
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http

from tests.integration.gateway.conftest import tensor
from tests.support.fake_worker import FakeWorker
from tests.support.gateway_process import GatewayProcess
from tests.support.redis_server import RedisServer
from tests.support.scripted_registry import ScriptedRegistry
from tests.support.succession import Succession
from tests.support.waiting import eventually


@dataclass(frozen=True, slots=True)
class Place:
    """A gateway's addresses, and the processes that serve there one after the other."""

    gateway: GatewayProcess
    succession: Succession


@pytest.fixture
def place() -> Iterator[Place]:
    with RedisServer() as redis, ScriptedRegistry() as registry:
        gateway = GatewayProcess(
            redis_url=redis.url, registry_address=registry.address, PENSTOCK_GATEWAY__FRONT="native"
        )
        registry.deploy("identity")
        with gateway.errors, FakeWorker(redis.url, "identity"), Succession(gateway) as succession:
            succession.start()
            eventually(lambda: httpx.get(f"http://{gateway.http}/v2/models/identity/ready").status_code == 200)
            yield Place(gateway, succession)


@contextmanager
def load(*actions: Callable[[], None]) -> Iterator[Counter[str]]:
    """Repeat each action in a thread of its own while the body runs; count how often it ends, and what it raises."""
    seen: Counter[str] = Counter()
    stop, lock = threading.Event(), threading.Lock()

    def repeat(action: Callable[[], None]) -> None:
        while not stop.is_set():
            try:
                action()
                outcome = action.__name__
            except Exception as error:  # noqa: BLE001 - that is what is counted
                outcome = f"{action.__name__}: {error!r} {error}"
            with lock:
                seen[outcome] += 1

    threads = [threading.Thread(target=repeat, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_no_connection_and_no_request_is_lost_between_processes(place: Place) -> None:
    grpc_client = triton_grpc.InferenceServerClient(place.gateway.grpc)
    rest = triton_http.InferenceServerClient(place.gateway.http)
    kept = http.client.HTTPConnection(place.gateway.http)
    sent = np.random.default_rng(1).standard_normal((1, 16)).astype("f4")
    rest_input = triton_http.InferInput("INPUT0", [1, 16], "FP32")
    rest_input.set_data_from_numpy(sent)

    def grpc_kept() -> None:
        grpc_client.infer("identity", [tensor()])

    def grpc_new() -> None:
        with triton_grpc.InferenceServerClient(place.gateway.grpc) as client:
            client.infer("identity", [tensor()])

    def rest_kept() -> None:
        assert (rest.infer("identity", [rest_input]).as_numpy("OUTPUT0") == sent).all()

    def rest_kept_by_a_client_that_does_not_try_again() -> None:
        kept.request("GET", "/v2/models/identity")
        assert kept.getresponse().read()

    def rest_new() -> None:
        assert httpx.get(f"http://{place.gateway.http}/v2/health/ready").status_code == 200

    def connection() -> None:
        for port in ("GRPC", "HTTP", "METRICS"):
            socket.create_connection(("127.0.0.1", place.gateway.ports[port]), timeout=20).close()

    actions = (grpc_kept, grpc_new, rest_kept, rest_kept_by_a_client_that_does_not_try_again, rest_new, connection)
    with grpc_client, rest, load(*actions) as seen:
        for _ in range(2):
            place.succession.succeed()
    kept.close()

    assert set(seen) == {action.__name__ for action in actions}, seen
    assert len(place.succession.running) == 3


def test_connections_wait_for_the_process_that_follows_a_killed_one(place: Place) -> None:
    place.succession.running[-1].kill()
    place.succession.running[-1].wait()
    with socket.create_connection(("127.0.0.1", place.gateway.ports["HTTP"]), timeout=20) as waiting:
        waiting.sendall(b"GET /v2/health/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        place.succession.start()
        assert waiting.recv(1024).startswith(b"HTTP/1.1 200")
