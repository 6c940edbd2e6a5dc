"""The stages of a request's life, and which stage a sampled stack belongs to."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

STAGES = {
    "front": "HTTP/2 and gRPC, or REST: bytes to messages, and back",
    "admit": "which model, is the request valid, is there room",
    "enqueue": "into Redis, one pipeline per loop turn",
    "queue": "waiting in the lane; its CPU is taking and decoding entries",
    "collate": "joining the inputs of a batch",
    "run": "the model, and the hand-over to its thread",
    "split": "cutting the outputs, building the responses",
    "reply": "from model process to gateway",
    "settle": "acknowledging, closing the ticket, waking the caller",
    "telemetry": "spans, figures, log lines",
    "event loop": "uvloop and sockets, where no stage can be told",
    "other": "all else in Python",
    "native threads": "threads without Python, as those of grpcio",
}

_GATEWAY = (
    ("services/gateway/spans.py", "", "telemetry"),
    ("services/gateway/pending.py", r"open$", "admit"),
    ("services/gateway/pending.py", "", "settle"),
    ("services/gateway/reply_servicer.py", "", "settle"),
    ("services/gateway/workers.py", r"hand_over|takes_requests", "enqueue"),
    ("services/gateway/workers.py", "", "settle"),
    ("services/gateway/domain/statistics.py", "", "settle"),
    ("services/gateway/adapters/", "", "enqueue"),
    ("services/gateway/inference.py", "", "admit"),
    ("services/gateway/grpc_servicer.py", "", "admit"),
    ("services/gateway/domain/", "", "admit"),
    ("services/gateway/fronts/", "", "front"),
    ("services/gateway/", "", "front"),
)
_MODEL_PROCESS = (
    ("services/inference/model_process/telemetry.py", "", "telemetry"),
    ("services/inference/model_process/batch_columns.py", "", "telemetry"),
    ("services/inference/model_process/redis_lane.py", r"settle|acknowledge|_flush|bury", "settle"),
    ("services/inference/model_process/redis_lane.py", "", "queue"),
    ("services/inference/model_process/reads.py", "", "queue"),
    ("services/inference/model_process/settlements.py", "", "settle"),
    ("services/inference/model_process/encoder.py", "", "split"),
    ("services/inference/model_process/decoder.py", "", "queue"),
    ("services/inference/model_process/tensors.py", "", "collate"),
    ("services/inference/model_process/worker.py", r"_run\b", "reply"),
    ("services/inference/model_process/worker.py", "", "queue"),
    ("services/inference/model_process/execution.py", r"split|classify", "split"),
    ("services/inference/model_process/execution.py", "", "run"),
    ("services/inference/model_process/gateways.py", "", "reply"),
    ("services/inference/model_process/reply_link.py", "", "reply"),
    ("services/inference/backends/", "", "run"),
    ("services/inference/domain/batching.py", "", "queue"),
    ("services/inference/", "", "other"),
)
_SHARED = (
    ("services/common/tracing.py", "", "telemetry"),
    ("services/common/http2/", "", "front|reply"),
    ("services/common/boundary.py", "", "front"),
    ("services/common/resp.py", "", "enqueue|queue"),
    ("services/common/lanes.py", r"encode", "enqueue"),
    ("services/common/lanes.py", r"decode", "queue"),
    ("logging/__init__.py", "", "telemetry"),
)
RULES = (*_GATEWAY, *_MODEL_PROCESS, *_SHARED)
"""Part of a file's path, a pattern of the function's name, the stage. The innermost frame that has a rule decides.

Where two stages are named, the first is the gateway's, the second a model process'."""

_ROOTS = ("services/common/serving.py", "__main__.py")
"""Where every stack begins: they tell nothing."""
_WAITS = re.compile(r"^(epoll_p?wait|poll|select|PyThread_acquire_lock_timed|pthread_cond_\w+|sem_\w*wait|nanosleep)\b")
_FRAME = re.compile(r"^(?P<function>.*?) \((?P<path>.*?)(:\d+)?\)$")
_THREAD = re.compile(r"^thread \((?P<id>\d+)\)(: (?P<name>.*))?$")
_BY_THREAD = {"executor": "run"}
"""What a thread does that was never met at work."""


@dataclass(frozen=True, slots=True)
class Samples:
    """How often each stage was met, by thread; samples of waiting threads are left out."""

    by_thread: Mapping[int, Counter[str]]


def read(lines: Iterable[str]) -> Samples:
    """Read py-spy's raw format: frames from the outermost on, with semicolons between, and a count at the end."""
    by_thread: dict[int, Counter[str]] = {}
    names: dict[int, str] = {}
    for line in lines:
        stack, _, count = line.rstrip().rpartition(" ")
        thread, *frames = stack.split(";")
        found = _THREAD.match(thread)
        if found is None or not count.isdigit():
            continue
        thread_id = int(found["id"])
        names[thread_id] = found["name"]
        if not is_waiting(frames):
            by_thread.setdefault(thread_id, Counter())[stage_of(frames)] += int(count)
    for thread_id, name in names.items():
        if thread_id not in by_thread and name in _BY_THREAD:
            by_thread[thread_id] = Counter({_BY_THREAD[name]: 1})
    return Samples(by_thread)


def is_waiting(frames: list[str]) -> bool:
    """Whether a thread waits for events, a lock or the interpreter; that is told by its innermost frames."""
    return any(_WAITS.match(frame) for frame in frames[-4:])


def stage_of(frames: list[str]) -> str:
    """The stage that a stack, innermost frame last, belongs to."""
    is_ours = False
    for frame in reversed(frames):
        found = _FRAME.match(frame)
        if found is None or found["path"].endswith(_ROOTS):
            continue
        for part, pattern, stage in RULES:
            if part in found["path"] and (not pattern or re.search(pattern, found["function"])):
                in_gateway, _, in_model = stage.partition("|")
                return in_model if in_model and any("services/inference/" in one for one in frames) else in_gateway
        is_ours = is_ours or "/services/" in found["path"]
    return "other" if is_ours else "event loop"
