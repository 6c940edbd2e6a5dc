"""OTLP/HTTP as the specification has it, by real requests over a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.rpc.status_pb2 import Status
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from penstock.monitor.v1 import monitor_service_pb2 as pb
from services.monitor.http_server import HttpServer
from tests.support.monitor_process import RunningMonitor, batch_span, export_request, monitor
from tests.unit.monitor.test_otlp_json import as_json

Eventually = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]
PROTOBUF, JSON = {"content-type": "application/x-protobuf"}, {"content-type": "application/json; charset=utf-8"}


@pytest.fixture
async def client(running: RunningMonitor) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.ports.otlp_http}", timeout=20) as one:
        yield one


async def executions(running: RunningMonitor) -> int:
    found = (await running.api.ListFigures(pb.ListFiguresRequest())).figures
    return found[0].execution_count if found else 0


def batches(running: RunningMonitor, number: int = 1) -> ExportTraceServiceRequest:
    return export_request(*(batch_span(end_ns=running.clock()) for _ in range(number)))


@pytest.mark.parametrize("is_packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("kind", ["protobuf", "json"])
async def test_spans_are_taken_in_either_encoding(
    running: RunningMonitor, client: httpx.AsyncClient, eventually: Eventually, kind: str, is_packed: bool
) -> None:
    request = batches(running, 3)
    headers, body = (PROTOBUF, request.SerializeToString()) if kind == "protobuf" else (JSON, as_json(request))
    if is_packed:
        headers, body = {**headers, "content-encoding": "gzip"}, gzip.compress(body)

    answer = await client.post("/v1/traces", content=body, headers=headers)

    assert answer.status_code == 200
    assert answer.headers["content-type"] == headers["content-type"].partition(";")[0]
    if kind == "protobuf":
        assert ExportTraceServiceResponse.FromString(answer.content) == ExportTraceServiceResponse()
    else:
        assert answer.json() == {}

    async def all_there() -> bool:
        return await executions(running) == 3

    await eventually(all_there)


async def test_a_body_may_come_in_chunks_of_unknown_number(running: RunningMonitor, client: httpx.AsyncClient) -> None:
    body = batches(running, 50).SerializeToString()

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 1_000):
            yield body[start : start + 1_000]

    assert (await client.post("/v1/traces", content=chunks(), headers=PROTOBUF)).status_code == 200


@pytest.mark.parametrize("kind", ["protobuf", "json"])
async def test_of_malformed_spans_a_part_is_refused_and_told(
    running: RunningMonitor, client: httpx.AsyncClient, kind: str
) -> None:
    request = batches(running, 2)
    request.resource_spans[0].scope_spans[0].spans[0].span_id = b"odd"
    headers, body = (PROTOBUF, request.SerializeToString()) if kind == "protobuf" else (JSON, as_json(request))

    answer = await client.post("/v1/traces", content=body, headers=headers)

    assert answer.status_code == 200
    if kind == "json":
        assert answer.json()["partialSuccess"]["rejectedSpans"] == "1"
    else:
        told = ExportTraceServiceResponse.FromString(answer.content).partial_success
        assert (told.rejected_spans, "expected 16 and 8 bytes" in told.error_message) == (1, True)


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status", "message"),
    [
        ("GET", "/v1/traces", PROTOBUF, b"", 405, "expected POST"),
        ("POST", "/v1/metrics", PROTOBUF, b"", 404, "expected /v1/traces"),
        ("POST", "/", PROTOBUF, b"", 404, "expected /v1/traces"),
        ("POST", "/v1/traces", {"content-type": "text/plain"}, b"", 415, "Content-Type 'text/plain'"),
        ("POST", "/v1/traces", {}, b"", 415, "Content-Type ''"),
        ("POST", "/v1/traces", {**PROTOBUF, "content-encoding": "br"}, b"", 415, "Content-Encoding 'br'"),
        ("POST", "/v1/traces", PROTOBUF, b"\xff" * 50, 400, "50 bytes are no ExportTraceServiceRequest"),
        ("POST", "/v1/traces", JSON, b"{", 400, "no JSON"),
        ("POST", "/v1/traces", {**PROTOBUF, "content-encoding": "gzip"}, b"plain", 400, "no gzip data"),
        (
            "POST", "/v1/traces", {**PROTOBUF, "content-encoding": "gzip"}, gzip.compress(os.urandom(999))[:-9],
            400, "no whole gzip data",
        ),
        ("POST", "/v1/traces", JSON, b" " * ((4 << 20) + 1), 413, "more than 4194304 bytes"),
        ("POST", "/v1/traces", PROTOBUF, bytes((16 << 20) + 1), 413, "more than 16777216 bytes"),
        (
            "POST", "/v1/traces", {**PROTOBUF, "content-encoding": "gzip"}, gzip.compress(bytes(1 << 28), 1),
            413, "more than 16777216 bytes",
        ),
    ],
    ids=[
        "get", "metrics", "root", "text", "no type", "brotli", "no protobuf", "no JSON", "no gzip", "half a gzip",
        "large JSON", "large protobuf", "gzip bomb",
    ],
)  # fmt: skip
async def test_what_is_wrong_is_said_with_the_right_status(
    client: httpx.AsyncClient, method: str, path: str, headers: dict[str, str], body: bytes, status: int, message: str
) -> None:
    answer = await client.request(method, path, content=body, headers=headers)

    assert answer.status_code == status
    if headers == JSON:
        assert message in answer.json()["message"]
    else:
        assert message in Status.FromString(answer.content).message
    assert ("POST" in answer.headers.get("allow", "")) == (status == 405)


async def test_a_full_queue_sends_away_for_a_while_and_takes_again(tmp_path: Path, eventually: Eventually) -> None:
    async with (
        monitor(tmp_path, intake_max_spans=200) as running,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.ports.otlp_http}") as client,
    ):
        bodies = [batches(running, 150).SerializeToString() for _ in range(30)]
        answers: list[httpx.Response] = []

        async def refusals() -> list[httpx.Response]:
            posts = (client.post("/v1/traces", content=one, headers=PROTOBUF) for one in bodies)
            answers.extend(await asyncio.gather(*posts))
            return [answer for answer in answers if answer.status_code == 429]

        refused = await eventually(refusals)
        assert {answer.status_code for answer in answers} == {200, 429}
        assert {answer.headers["retry-after"] for answer in refused} == {"1"}
        assert "queue is full" in Status.FromString(refused[0].content).message

        async def taken() -> bool:
            answer = await client.post("/v1/traces", content=bodies[0], headers=PROTOBUF)
            return answer.status_code == 200

        await eventually(taken)
        async with httpx.AsyncClient() as scraper:
            text = (await scraper.get(f"http://127.0.0.1:{running.metrics_port}/metrics")).text
        told = next(line for line in text.splitlines() if 'spans_total{result="refused"}' in line)
        assert float(told.rpartition(" ")[2]) >= 150 * len(refused)


async def test_bodies_on_their_way_are_bounded_together(tmp_path: Path) -> None:
    async with monitor(tmp_path, intake_max_mebibytes=1) as running:
        slow = [await asyncio.open_connection("127.0.0.1", running.ports.otlp_http) for _ in range(3)]
        for _, writer in slow:
            head = b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
            writer.write(head + b"Content-Length: 10000000\r\n\r\n" + bytes(900_000))
            await writer.drain()

        answers = [asyncio.create_task(reader.readline()) for reader, _ in slow]
        done, _ = await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED, timeout=10)

        assert {task.result() for task in done} == {b"HTTP/1.1 429 Too Many Requests\r\n"}
        for _, writer in slow:
            writer.close()
        for task in answers:
            task.cancel()


async def test_a_caller_that_leaves_takes_nothing_with_it(running: RunningMonitor, client: httpx.AsyncClient) -> None:
    for _ in range(5):
        _, writer = await asyncio.open_connection("127.0.0.1", running.ports.otlp_http)
        writer.write(b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
        writer.write(b"Content-Length: 99\r\n\r\n{")
        await writer.drain()
        writer.close()
    _, endless = await asyncio.open_connection("127.0.0.1", running.ports.otlp_http)
    endless.write(b"POST /v1/traces HTTP/1.1\r\nX: " + b"x" * 300_000)

    answer = await client.post("/v1/traces", content=batches(running).SerializeToString(), headers=PROTOBUF)

    assert answer.status_code == 200
    endless.close()


ODD_BODIES = st.one_of(
    st.binary(max_size=300),
    st.binary(max_size=300).map(gzip.compress),
    st.recursive(
        st.none() | st.integers() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["resourceSpans", "scopeSpans", "spans", "traceId", "name"]), inner)
        ),
        max_leaves=12,
    ).map(lambda value: json.dumps(value).encode()),
)


async def test_whatever_comes_is_answered_by_http_and_grpc(running: RunningMonitor, client: httpx.AsyncClient) -> None:
    """Each answer is one that the specification knows, and the monitor counts on afterwards."""
    loop, bodies = asyncio.get_running_loop(), list[tuple[bytes, str, str]]()

    @settings(max_examples=150, suppress_health_check=list(HealthCheck), deadline=None)
    @given(
        ODD_BODIES,
        st.sampled_from([JSON["content-type"], PROTOBUF["content-type"], "x"]),
        st.sampled_from(["", "gzip"]),
    )
    def collect(body: bytes, kind: str, encoding: str) -> None:
        bodies.append((body, kind, encoding))

    await loop.run_in_executor(None, collect)
    export = running.otlp_channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
    for body, kind, encoding in bodies:
        headers = {"content-type": kind, **({"content-encoding": encoding} if encoding else {})}
        answer = await client.post("/v1/traces", content=body, headers=headers)
        assert answer.status_code in (200, 400, 415)
        with contextlib.suppress(grpc.aio.AioRpcError):
            await export(body)
            continue
        with pytest.raises(grpc.aio.AioRpcError, match="ExportTraceServiceRequest"):
            await export(body)

    assert (await client.post("/v1/traces", content=batches(running).SerializeToString(), headers=PROTOBUF)).is_success


async def test_json_is_read_while_threads_wait_for_the_database(
    running: RunningMonitor, client: httpx.AsyncClient
) -> None:
    loop, is_back = asyncio.get_running_loop(), threading.Event()
    waiting = [loop.run_in_executor(None, is_back.wait) for _ in range(64)]

    answer = await client.post("/v1/traces", content=as_json(batches(running)), headers=JSON)

    assert answer.status_code == 200
    is_back.set()
    await asyncio.gather(*waiting)


@pytest.mark.parametrize("sent", [b"", b"POST /v1/traces HTTP/1.1\r\nHost: x\r\n"], ids=["nothing", "half a head"])
async def test_a_connection_that_sends_no_whole_head_is_closed(
    running: RunningMonitor, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr("services.monitor.http_server._HEAD_TIMEOUT_S", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", running.ports.otlp_http)
    writer.write(sent)

    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()


async def test_a_connection_may_rest_between_requests_but_not_within_a_head(
    running: RunningMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.monitor.http_server._HEAD_TIMEOUT_S", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", running.ports.otlp_http)
    for _ in range(2):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 404 " in await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.5)
    writer.write(b"GET / HT")

    async with asyncio.timeout(5):
        while await reader.read(65_536):
            """The last answer's body."""
    writer.close()


async def test_an_http_server_that_ends_by_itself_is_noticed() -> None:
    async def nobody(_scope: Any, _receive: Any, _send: Any) -> None: ...

    server = HttpServer(nobody, host="127.0.0.1", port=0)
    await server.start()
    watching = asyncio.create_task(server.running())
    await asyncio.sleep(0)
    assert server._running is not None
    server._running.cancel()

    with pytest.raises(RuntimeError, match="ended by itself"):
        await watching
    await server.shutdown(sockets=[server._socket])
    stopped = HttpServer(nobody, host="127.0.0.1", port=0)
    await stopped.start()
    watching = asyncio.create_task(stopped.running())
    await stopped.stop()
    await watching
