"""Lone requests, which are handed over to an idle model process past their lane, and what becomes of them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from penstock.registry.v1.resources_pb2 import QueueConfig
from tests.integration.gateway.conftest import Stage, is_deployed, open_stage, tensor
from tests.support.fake_worker import FakeWorker
from tests.support.waiting import eventually

SUCCESS = 'nv_inference_request_success{model="identity",version="1"}'
MANY = 40
"""So many requests and a worker is known to be quick."""


@pytest.fixture
def stage() -> Iterator[Stage]:
    """A gateway that hands requests over, as only its own front does."""
    with open_stage(PENSTOCK_GATEWAY__FRONT="native") as stage:
        stage.registry.deploy("identity")
        eventually(lambda: is_deployed(stage))
        yield stage


@pytest.fixture
def worker(stage: Stage) -> Iterator[FakeWorker]:
    """A worker that takes handovers; the gateway knows that it is quick."""
    with FakeWorker(stage.redis.url, "identity", takes_handovers=True) as worker:
        eventually(lambda: stage.client.is_model_ready("identity"))
        for seed in range(MANY):
            ask(stage, seed)
        yield worker


def ask(stage: Stage, seed: int = 0) -> None:
    sent = tensor(seed=seed)
    answer = stage.client.infer("identity", [sent], client_timeout=20)
    assert answer.as_numpy("OUTPUT0").tobytes() == sent._get_content()


def test_lone_requests_of_a_quick_worker_pass_the_lane_by(stage: Stage, worker: FakeWorker) -> None:
    in_lane = len(worker.seen)
    assert in_lane < MANY
    for seed in range(3):
        ask(stage, seed)
    assert len(worker.seen) == in_lane
    assert stage.gateway.scrape()[SUCCESS] == MANY + 3


def test_several_at_a_time_go_through_the_lane(stage: Stage, worker: FakeWorker) -> None:
    held: list[Any] = []
    worker.on_handover = lambda handover, link: held.append((handover, link))
    in_lane = len(worker.seen)
    with ThreadPoolExecutor() as pool:
        alone = pool.submit(ask, stage)
        eventually(lambda: held)
        others = [pool.submit(ask, stage, seed) for seed in range(4)]
        for one in others:
            one.result()
        assert sum(one.attempt == 1 for one in worker.seen[in_lane:]) == 4
        (handover, link), *more = held
        assert not more
        link.answer(handover)
        alone.result()


def test_one_that_breaks_its_stream_goes_into_the_lane_as_a_second_attempt(stage: Stage, worker: FakeWorker) -> None:
    held: list[Any] = []
    worker.on_handover = lambda *_: held.append(1)
    in_lane = len(worker.seen)
    with ThreadPoolExecutor() as pool:
        call = pool.submit(ask, stage)
        eventually(lambda: held)
        worker.link(stage.gateway.internal).reconnect()
        call.result()
    assert [one.attempt for one in worker.seen[in_lane:]] == [2]


def test_one_that_is_refused_goes_into_the_lane_and_so_do_those_after_it(stage: Stage, worker: FakeWorker) -> None:
    worker.on_handover = lambda handover, link: link.refuse(handover)
    in_lane = len(worker.seen)
    for seed in range(3):
        ask(stage, seed)
    assert [one.attempt for one in worker.seen[in_lane:]] == [1, 1, 1]


def test_one_that_is_not_answered_goes_into_the_lane_after_a_while(stage: Stage, worker: FakeWorker) -> None:
    worker.on_handover = lambda *_: None
    in_lane = len(worker.seen)
    ask(stage)
    assert [one.attempt for one in worker.seen[in_lane:]] == [2]


def test_one_that_may_not_run_twice_is_never_handed_over(stage: Stage, worker: FakeWorker) -> None:
    stage.registry.deploy("identity", queue=QueueConfig(max_attempts=1))
    in_lane = len(worker.seen)

    def is_in_lane() -> bool:
        ask(stage)
        return len(worker.seen) > in_lane

    eventually(is_in_lane)
    in_lane = len(worker.seen)
    for seed in range(3):
        ask(stage, seed)
    assert len(worker.seen) == in_lane + 3


def test_a_caller_that_leaves_is_told_of(stage: Stage, worker: FakeWorker) -> None:
    held: list[Any] = []
    worker.on_handover = lambda handover, _: held.append(handover.envelope.request_key)
    call = stage.client.async_infer("identity", [tensor()], lambda *_: None)
    eventually(lambda: held)
    call.cancel()
    eventually(lambda: worker.cancelled == held)
