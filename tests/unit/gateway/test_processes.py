"""What makes several gateway processes one: their link, their metrics, their statistics, their share of the queue."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from services.gateway import descriptions
from services.gateway.domain.lane import Lane
from services.gateway.domain.versions import ServedVersion
from services.gateway.processes.exposition import merged
from services.gateway.processes.link import Answering, Link

VERSION = ServedVersion("m", "1", "onnxruntime_onnx", "onnxruntime", (), ())


async def echo(question: str, arguments: list[Any]) -> Any:
    return [question, arguments]


@asynccontextmanager
async def linked(answering: Answering) -> AsyncIterator[tuple[Link, Link, asyncio.Task[None]]]:
    ends = socket.socketpair()
    asking, answered = await Link.over(ends[0], echo), await Link.over(ends[1], answering)
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(link.run()) for link in (asking, answered)]
        yield asking, answered, running[1]
        for task in running:
            task.cancel()


async def test_both_ends_ask_and_answer_at_the_same_time() -> None:
    async with linked(echo) as (one, other, _):
        answers = await asyncio.gather(*(end.ask("q", at, "x" * 100_000) for at in range(3) for end in (one, other)))

    assert answers == [["q", [at, "x" * 100_000]] for at in range(3) for _ in range(2)]


async def test_an_end_that_fails_to_answer_says_so_and_goes_on() -> None:
    async def answer(question: str, arguments: list[Any]) -> Any:
        if question == "bad":
            raise KeyError("bad")
        return 1

    async with linked(answer) as (one, _, _):
        with pytest.raises(ConnectionError, match="KeyError"):
            await one.ask("bad")
        assert await one.ask("good") == 1


async def test_an_end_that_leaves_is_noticed_by_who_waits_and_who_asks_later() -> None:
    never = asyncio.Event()

    async def answer(question: str, arguments: list[Any]) -> Any:
        await never.wait()

    async with linked(answer) as (one, _, running):
        asked = asyncio.create_task(one.ask("q"))
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(ConnectionError):
            await asked
        with pytest.raises(ConnectionError):
            await one.ask("q")


def page(value: int) -> str:
    registry = CollectorRegistry()
    Counter("requests", "All { of }\n# HELP them", ["model"], registry=registry).labels('a{"b}\n# HELP').inc(value)
    Gauge("up", "Whether", registry=registry).set(value)
    Histogram("seconds", "Time", registry=registry, buckets=(1,)).observe(value)
    return generate_latest(registry).decode()


def test_merged_metrics_parse_and_name_their_process() -> None:
    families = {family.name: family for family in text_string_to_metric_families(merged({"0": page(2), "1": page(3)}))}

    assert set(families) >= {"requests", "up", "seconds"}
    samples = {
        (sample.name, sample.labels["process"], sample.labels.get("model")): sample.value
        for family in families.values()
        for sample in family.samples
    }
    assert samples["requests_total", "0", 'a{"b}\n# HELP'] == 2
    assert samples["requests_total", "1", 'a{"b}\n# HELP'] == 3
    assert (samples["up", "0", None], samples["up", "1", None]) == (2, 3)
    assert samples["seconds_sum", "1", None] == 3


def test_statistics_of_processes_add_up() -> None:
    def one(now_ms: int, rows: int) -> descriptions.Description:
        lane = Lane(VERSION, now=0)
        lane.statistics.count_successes(request_ns=[10], queue_ns=[4], rows=rows)
        lane.statistics.count_execution(rows=rows, input_ns=1, infer_ns=2, output_ns=3, now_ms=now_ms)
        return descriptions.statistics([lane])

    stranger = descriptions.statistics([Lane(replace(VERSION, model="other"), now=0)])

    (stats,) = descriptions.joined(one(7, 8), [one(9, 8), one(8, 4), stranger])["model_stats"]

    assert (stats["name"], stats["last_inference"], stats["inference_count"]) == ("m", 9, 20)
    assert (stats["execution_count"], stats["inference_stats"]["success"]) == (3, {"count": 3, "ns": 30})
    assert [(batch["batch_size"], batch["compute_infer"]) for batch in stats["batch_stats"]] == [
        (4, {"count": 1, "ns": 2}),
        (8, {"count": 2, "ns": 4}),
    ]


@pytest.mark.parametrize(("size", "processes", "places"), [(10, 1, 10), (10, 2, 5), (10, 3, 4), (1, 4, 1)])
def test_processes_share_the_places_of_a_queue(size: int, processes: int, places: int) -> None:
    assert replace(VERSION, max_queue_size=size, gateway_processes=processes).queue_places == places
