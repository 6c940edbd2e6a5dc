"""Golden probes through the real thing: listed, paged, refused where they are malformed, kept over a restart."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from penstock.monitor.v1 import monitor_service_pb2 as pb
from services.monitor.domain.blocks import NS
from tests.support.monitor_process import Clock, RunningMonitor, monitor, span

Eventually = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]
PASS, FAIL = pb.ReplicaProbe.OUTCOME_PASS, pb.ReplicaProbe.OUTCOME_FAIL
GOOD, OTHER = "a" * 64, "b" * 64


def probe_span(running: RunningMonitor, *, value: float = 1.0, model: str = "digits", **changes: Any) -> Span:
    now_ns = running.clock()
    attributes = {
        "penstock.model.name": model,
        "penstock.model.version": "3",
        "penstock.compute.device": "cpu",
        "penstock.probe": True,
        "penstock.probe.outcome": "pass",
        "penstock.probe.worst_error": 0.0,
        "penstock.probe.exact_sha256": "e" * 64,
        "penstock.probe.values": np.array([value, np.nan], "<f8").tobytes(),
        "penstock.probe.slack": np.array([1e-3, 1e-3], "<f8").tobytes(),
        "penstock.weights.sha256": GOOD,
        "penstock.weights.expected_sha256": GOOD,
        **{name.replace("__", "."): value for name, value in changes.items()},
    }
    return span("probe digits", attributes, end_ns=now_ns, start_ns=now_ns - 1_000_000, kind=Span.SPAN_KIND_INTERNAL)


async def probes(running: RunningMonitor, **question: Any) -> list[pb.ReplicaProbe]:
    return list((await running.api.ListProbes(pb.ListProbesRequest(**question))).probes)


async def incidents(running: RunningMonitor, *, is_open: bool = True) -> list[pb.Incident]:
    return list((await running.api.ListIncidents(pb.ListIncidentsRequest(is_open=is_open))).incidents)


async def test_probes_are_listed_by_replica_and_paged(running: RunningMonitor, eventually: Eventually) -> None:
    for number in range(5):
        await running.send(probe_span(running), instance=f"node.digits.3.{number}@x")
    await running.send(probe_span(running, model="other"), instance="node.other.3.0@x")

    async def are_all_there() -> bool:
        return len(await probes(running)) == 6

    await eventually(are_all_there)
    seen, token = [], ""
    while True:
        page = await running.api.ListProbes(pb.ListProbesRequest(model="digits", page_size=2, page_token=token))
        seen += [one.replica for one in page.probes]
        if not (token := page.next_page_token):
            break
    assert seen == [f"node.digits.3.{number}@x" for number in range(5)]
    (one,) = await probes(running, model="other")
    assert (one.outcome, one.device, one.weights_sha256, one.detail) == (PASS, "cpu", GOOD, "")
    assert one.trace.startswith("traces/")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await probes(running, page_size=-1)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"penstock__probe__outcome": "maybe"}, "got the outcome 'maybe', expected one of pass, fail, error, skip"),
        ({"penstock__probe__outcome": 7}, "penstock.probe.outcome is no string"),
        ({"penstock__probe__worst_error": float("nan")}, "got nan as worst error, expected 0 or more"),
        ({"penstock__probe__worst_error": "much"}, "penstock.probe.worst_error is no double"),
        ({"penstock__probe__values": bytes(24)}, "got 24 bytes of values and 16 of slack"),
        ({"penstock__probe__values": bytes(8 * 513), "penstock__probe__slack": bytes(8 * 513)}, "4096 at most"),
        ({"penstock__weights__sha256": "A" * 64}, "as penstock.weights.sha256, expected 64 hexadecimal digits"),
        ({"penstock__probe__detail": "x" * 300}, "no printable text of at most 256 characters"),
    ],
)
async def test_a_malformed_probe_is_refused_and_harms_nobody(
    running: RunningMonitor, eventually: Eventually, changes: dict[str, Any], said: str
) -> None:
    answer = await running.send(probe_span(running, **changes), probe_span(running), instance="a@x")
    assert answer.partial_success.rejected_spans == 1
    assert said in answer.partial_success.error_message

    async def is_the_other_there() -> list[pb.ReplicaProbe]:
        return await probes(running)

    (one,) = await eventually(is_the_other_there)
    assert one.outcome == PASS


async def test_golden_answers_and_incidents_outlive_a_restart(tmp_path: Path, eventually: Eventually) -> None:
    clock = Clock()
    async with monitor(tmp_path, clock=clock) as running:
        for name in ("a@x", "b@x"):
            await running.send(probe_span(running), instance=name)
        await running.send(probe_span(running, value=1.5), instance="c@x")
        (opened,) = await eventually(lambda: incidents(running))
        assert (opened.replica, opened.signal) == ("c@x", pb.Incident.SIGNAL_PROBE)
        assert opened.cause == pb.Incident.CAUSE_REPLICA
        assert len(opened.traces) == 1
        assert len(opened.innocent_traces) == 2
        async with httpx.AsyncClient() as client:
            page = (await client.get(f"http://127.0.0.1:{running.metrics_port}/metrics")).text
        counts = {
            outcome: f'penstock_probe_replicas{{model="digits",outcome="{outcome}",version="3"}} {count}.0' in page
            for outcome, count in {"pass": 2, "fail": 1, "error": 0, "skip": 0}.items()
        }
        assert all(counts.values()), counts
    async with monitor(tmp_path, clock=clock) as running:
        # All that runs now is wrong in the same way: what is right is known from before.
        clock.skip(5)
        await running.send(probe_span(running, value=1.5), instance="d@x")
        await running.send(probe_span(running), instance="c@x")
        assert [one.name for one in await incidents(running)] == [opened.name]

        async def is_the_next_one_named() -> bool:
            return [one.outcome for one in await probes(running)] == [PASS, FAIL]

        await eventually(is_the_next_one_named)
        clock.skip(5)
        await running.send(probe_span(running), instance="d@x")

        async def is_closed() -> bool:
            return not await incidents(running)

        await eventually(is_closed)


@pytest.mark.parametrize(
    "off_ns", [-7_200 * NS, -15 * NS, 300 * NS, 2**64 - 1], ids=["hours behind", "behind", "ahead", "no time at all"]
)
async def test_a_replica_whose_clock_is_off_is_heard_all_the_same(
    tmp_path: Path, eventually: Eventually, off_ns: int
) -> None:
    async with monitor(tmp_path) as running:
        failing = probe_span(running, penstock__probe__outcome="fail")
        failing.end_time_unix_nano = min(failing.end_time_unix_nano + off_ns, 2**64 - 1)
        failing.start_time_unix_nano = failing.end_time_unix_nano - 9
        await running.send(failing, instance="a@x")

        (incident,) = await eventually(lambda: incidents(running))
        assert abs(incident.change_time.ToNanoseconds() - running.clock()) < 60 * NS
        running.clock.skip(5)
        await running.send(probe_span(running), instance="a@x")  # the clock is right again

        async def is_closed() -> bool:
            return not await incidents(running)

        await eventually(is_closed)


async def test_other_files_than_the_registrys_wake_somebody(running: RunningMonitor, eventually: Eventually) -> None:
    await running.send(probe_span(running), instance="a@x")
    await running.send(probe_span(running, penstock__weights__sha256=OTHER), instance="b@x")
    (incident,) = await eventually(lambda: incidents(running))
    assert incident.summary.startswith("Replica b of digits version 3 has loaded other files than its version has")
    assert (incident.severity, incident.average_run_length) == (pb.Incident.SEVERITY_PAGE, 0)


async def test_a_replica_that_stops_takes_its_incident_along(running: RunningMonitor, eventually: Eventually) -> None:
    await running.send(probe_span(running), instance="a@x")
    await running.send(probe_span(running, value=2.0), instance="b@x")
    await eventually(lambda: incidents(running))
    now_ns = running.clock()
    attributes = {
        "penstock.model.name": "digits",
        "penstock.model.version": "3",
        "penstock.replica.state": "stopping",
    }
    await running.send(span("pulse digits", attributes, end_ns=now_ns, start_ns=now_ns), instance="b@x")

    async def is_closed() -> bool:
        return not await incidents(running)

    await eventually(is_closed)
    (closed,) = await incidents(running, is_open=False)
    assert "closed, as it is gone, after" in closed.summary
    assert [one.replica for one in await probes(running)] == ["a@x"]
