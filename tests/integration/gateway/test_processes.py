"""A gateway of two processes is one to its clients."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from tests.integration.gateway.conftest import FRONTS, Stage, open_stage
from tests.support.fake_worker import FakeWorker
from tests.support.waiting import eventually

BODY = {"inputs": [{"name": "INPUT0", "shape": [1, 16], "datatype": "FP32", "data": [0.5] * 16}]}
TWO = {"PENSTOCK_GATEWAY__PROCESSES": "2"}


@pytest.fixture(params=FRONTS)
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    with open_stage(PENSTOCK_GATEWAY__FRONT=request.param, **TWO) as stage:
        stage.registry.deploy("identity")
        yield stage


@pytest.fixture
def worker(stage: Stage) -> Iterator[FakeWorker]:
    with FakeWorker(stage.redis.url, "identity") as worker:
        eventually(lambda: all(is_model_ready(stage) for _ in range(16)))
        yield worker


def is_model_ready(stage: Stage) -> bool:
    """Asked on a connection of its own, so that any process may answer."""
    return httpx.get(f"http://{stage.gateway.http}/v2/models/identity/ready").status_code == 200


def infer(stage: Stage) -> None:
    answer = httpx.post(f"http://{stage.gateway.http}/v2/models/identity/infer", json=BODY, timeout=20)
    assert answer.status_code == 200, answer.text
    assert answer.json()["outputs"][0]["data"] == [0.5] * 16


def successes(stage: Stage) -> list[float]:
    scraped = stage.gateway.scrape()
    return [
        scraped.get(f'nv_inference_request_success{{process="{index}",model="identity",version="1"}}', 0)
        for index in range(2)
    ]


def infer_until_both_answered(stage: Stage) -> int:
    before, sent = successes(stage), 0

    def have_both() -> bool:
        nonlocal sent
        infer(stage)
        sent += 1
        return all(now > then for now, then in zip(successes(stage), before, strict=True))

    eventually(have_both)
    return sent


def processes(stage: Stage) -> list[psutil.Process]:
    return psutil.Process(stage.gateway.running.pid).children()


def test_both_take_requests_and_are_counted_as_one(stage: Stage, worker: FakeWorker) -> None:
    sent = infer_until_both_answered(stage)

    eventually(lambda: sum(successes(stage)) == sent)
    for _ in range(8):  # whichever process answers
        eventually(lambda: counted(stage) == sent)
    eventually(lambda: stage.client.get_inference_statistics("identity").model_stats[0].inference_count == sent)


def counted(stage: Stage) -> int:
    answer = httpx.get(f"http://{stage.gateway.http}/v2/models/identity/stats").json()
    return int(answer["model_stats"][0]["inference_stats"]["success"]["count"])


def test_a_killed_process_is_started_again_while_the_other_serves_on(stage: Stage, worker: FakeWorker) -> None:
    infer_until_both_answered(stage)
    killed = processes(stage)[0]
    killed.kill()
    eventually(lambda: not psutil.pid_exists(killed.pid))  # its sockets are closed when its last thread has ended

    for _ in range(8):
        infer(stage)

    eventually(lambda: answering(stage) == 2)
    infer_until_both_answered(stage)
    starts = [f'penstock_gateway_process_starts_total{{process="{index}"}}' for index in range(2)]
    assert sorted(stage.gateway.scrape()[name] for name in starts) == [1, 2]


def test_processes_are_renewed_one_by_one_and_nobody_notices(stage: Stage, worker: FakeWorker) -> None:
    before = {process.pid for process in processes(stage)}
    with ThreadPoolExecutor(2) as pool:
        is_over = threading.Event()

        def keep_asking() -> None:
            while not is_over.is_set():
                infer(stage)

        asking = [pool.submit(keep_asking) for _ in range(2)]
        stage.gateway.running.send_signal(signal.SIGHUP)
        eventually(lambda: len(processes(stage)) == 2 and not before & {one.pid for one in processes(stage)})
        is_over.set()
        for one in asking:
            one.result()
    infer_until_both_answered(stage)


def answering(stage: Stage) -> int:
    return sum(name.startswith("penstock_gateway_redis_up{") for name in stage.gateway.scrape())


def test_requests_under_way_in_both_are_finished_before_they_leave(stage: Stage, worker: FakeWorker) -> None:
    infer_until_both_answered(stage)
    worker.pause()
    pending = 'nv_inference_pending_request_count{{process="{}",model="identity",version="1"}}'
    with ThreadPoolExecutor(64) as pool:
        calls = [pool.submit(infer, stage) for _ in range(24)]
        eventually(
            lambda: sum(stage.gateway.scrape().get(pending.format(index), 0) for index in range(2)) == len(calls)
        )
        stage.gateway.running.send_signal(signal.SIGTERM)
        worker.resume()
        for call in calls:
            call.result(timeout=20)

    assert stage.gateway.running.wait(20) == 0


def test_processes_leave_when_their_parent_was_killed(stage: Stage) -> None:
    left_alone = processes(stage)
    assert len(left_alone) == 2

    stage.gateway.running.kill()
    stage.gateway.running.wait()

    _, still_there = psutil.wait_procs(left_alone, timeout=15)
    assert still_there == []
    stage.gateway.start()  # the stage's end wants one that leaves in order
    stage.gateway.wait_until_serving()
