"""Sampled stacks and spans are ascribed to the right stages, and the rules name code that exists."""

from __future__ import annotations

from pathlib import Path

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from benchmarks.profiling.spans import walls_of
from benchmarks.profiling.stages import RULES, STAGES, is_waiting, read, stage_of

ROOT = Path(__file__).resolve().parents[3]
MAIN = "main (/x/services/gateway/__main__.py:9)"
SERVE = "run (/x/services/common/serving.py:95)"
LOOP = "uv_run (/project/libuv/core.c:464)"


@pytest.mark.parametrize(
    ("frames", "stage"),
    [
        ([SERVE, LOOP, "Desk.admit (/x/services/gateway/inference.py:64)", "x (/x/numpy/core.py:1)"], "admit"),
        ([SERVE, "admit (/x/services/gateway/inference.py:1)", "put (/x/services/common/resp.py:9)"], "enqueue"),
        (["run (/x/services/inference/model_process/server.py:1)", "take (/x/services/common/resp.py:9)"], "queue"),
        ([SERVE, "Worker._take (/x/services/inference/model_process/worker.py:1)"], "queue"),
        ([SERVE, "_split (/x/services/inference/model_process/execution.py:1)", "memcpy (/lib/libc.so.6)"], "split"),
        ([MAIN, SERVE, LOOP, "uv__read (/project/libuv/stream.c:1)"], "event loop"),
        ([SERVE, "Cache.refresh (/x/services/common/watch.py:1)"], "other"),
    ],
)  # fmt: skip
def test_the_innermost_frame_with_a_rule_decides(frames: list[str], stage: str) -> None:
    assert stage_of(frames) == stage


def test_waiting_threads_are_left_out() -> None:
    assert is_waiting([SERVE, LOOP, "epoll_pwait (/lib/libc.so.6)"])
    assert is_waiting([SERVE, "PyThread_acquire_lock_timed (/lib/libpython)", "0x7 (/lib/libc.so.6)"])
    assert not is_waiting([SERVE, LOOP, "write (/lib/libc.so.6)"])


def test_samples_are_counted_by_thread() -> None:
    admit = "Desk.admit (/x/services/gateway/inference.py:64)"
    lines = [
        f"thread (7): MainThread;{SERVE};{admit} 3",
        f"thread (7): MainThread;{SERVE};{LOOP};epoll_wait (/lib/libc.so.6) 90",
        f"thread (7): MainThread;{SERVE};{LOOP} 2",
        "thread (8): executor;PyThread_acquire_lock_timed (/lib/libpython) 95",
        "thread (9): another;poll (/lib/libc.so.6) 95",
        "not a stack",
    ]

    assert read(lines).by_thread == {7: {"admit": 3, "event loop": 2}, 8: {"run": 1}}


def test_every_rule_names_code_and_a_stage_that_exist() -> None:
    for part, _, stage in RULES:
        assert set(stage.split("|")) <= STAGES.keys()
        if part.startswith("services/"):
            assert (ROOT / part).exists(), part


def span(kind: Span.SpanKind, name: str, begin_us: int, end_us: int, **integers: int) -> Span:
    attributes = [KeyValue(key=key.replace("__", "."), value=AnyValue(int_value=n)) for key, n in integers.items()]
    return Span(
        kind=kind,
        name=name,
        trace_id=b"t" * 16,
        start_time_unix_nano=begin_us * 1_000,
        end_time_unix_nano=end_us * 1_000,
        attributes=attributes,
    )


def test_the_stages_of_a_request_follow_each_other_and_add_up() -> None:
    server = span(Span.SPAN_KIND_SERVER, "ModelInfer", 0, 1_000)
    producer = span(Span.SPAN_KIND_PRODUCER, "send m", 10, 300)
    consumer = span(Span.SPAN_KIND_CONSUMER, "process m", 200, 900)
    figures = {"input": 5_000, "infer": 600_000, "output": 15_000}
    times = {f"penstock__compute__{part}_ns": ns for part, ns in figures.items()}
    batch = span(Span.SPAN_KIND_CONSUMER, "batch m", 200, 900, messaging__batch__message_count=4, **times)
    batch.trace_id, batch.span_id = b"b" * 16, b"batch---"
    consumer.links.add(span_id=b"batch---")

    refused = span(Span.SPAN_KIND_SERVER, "ModelInfer", 0, 5)
    refused.trace_id = b"r" * 16

    walls = walls_of([server, producer, consumer, batch, refused])

    assert walls.by_stage == {
        "admit": 10,
        "enqueue": 190,  # the worker had it before the gateway knew that it was sent
        "queue": 0,
        "collate": 5,
        "run": 680,  # with the hand-over to the executor's thread
        "split": 15,
        "reply": 100,
    }
    assert (walls.in_gateway, walls.requests, walls.batch_requests) == (1_000, 1, 4)
