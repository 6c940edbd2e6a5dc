"""Reads the spans of batches, of replicas' pulses, and of requests that the gateway settled by itself, by the names in
docs/telemetry.md.
"""

from __future__ import annotations

import struct

from services.monitor.domain.blocks import NOTHING_SKIPPED, STABLE, Batch, Pulse, Rejection, Skipped
from services.monitor.domain.outcomes import CODES, outcome_of
from services.monitor.domain.ring import KeptSpan
from services.monitor.span_values import MalformedSpanError, Values

MAX_REQUESTS_PER_BATCH = 65_536
MAX_WEIGHT = 1_000_000
MAX_SKIPPED = 1_000_000_000
MAX_WIDTH = 64
"""Of a sketch of inputs."""


def batch_of(span: KeptSpan, values: Values, *, instance: str) -> Batch:
    """What a span says of one batch, or several.

    Raises:
        MalformedSpanError: it isn't as docs/telemetry.md says.
    """
    read = values.read
    status: bytes = read("penstock.requests.status", b"")
    several = _numbers(values, "requests")
    sizes = several or (len(status),)
    if several:
        rows = _numbers(values, "rows", batches=len(sizes))
        input_ns, infer_ns, output_ns = (
            _numbers(values, f"{part}_ns", batches=len(sizes)) for part in ("input", "infer", "output")
        )
    else:
        rows = (read("penstock.batch.rows", 0),)
        input_ns, infer_ns, output_ns = (
            (read(f"penstock.compute.{part}_ns", 0),) for part in ("input", "infer", "output")
        )
    if not span.model or not span.version:
        raise MalformedSpanError(f"batch span {span.span_id.hex()} names no model and version")
    compute_ns = input_ns, infer_ns, output_ns
    is_sound = 1 <= len(status) <= MAX_REQUESTS_PER_BATCH and min(sizes) >= 1 and min(rows) >= 1
    if not is_sound or sum(sizes) != len(status) or min(map(min, compute_ns)) < 0:
        raise MalformedSpanError(
            f"batch span {span.span_id.hex()} has {len(status)} requests, in batches {sizes[:8]} of {rows[:8]} rows, "
            f"compute times {[part[:8] for part in compute_ns]} ns; expected 1 to {MAX_REQUESTS_PER_BATCH} requests, "
            "each batch with 1 or more of them and of rows, and no negative time"
        )
    return Batch(
        span.model,
        span.version,
        instance,
        span.trace_id,
        span.end_ns,
        sizes,
        rows,
        compute_ns,
        _packed(values, "penstock.requests.wait_us", 4, requests=len(status)),
        _packed(values, "penstock.requests.total_us", 4, requests=len(status)),
        status,
        _packed(values, "penstock.requests.trace_id", 16, requests=len(status)),
        values.name("penstock.deployment.arm") or STABLE,
        span.start_ns,
        *_answers(values, requests=len(status)),
        *_sketch(values, requests=len(status)),
        values.name("penstock.inputs.kind"),
        read("penstock.queue.delivery_count", 1),
        read("penstock.batch.is_extra", False),
        _skipped(values),
        _drawn(values, "penstock.batch.drawn", requests=len(status)),
    )


def _drawn(values: Values, name: str, *, requests: int) -> int:
    drawn: int = values.read(name, 0)
    if not 0 <= drawn <= requests:
        raise MalformedSpanError(f"attribute {name} is {drawn}, expected 0 to {requests}, the requests it is about")
    return drawn


def _skipped(values: Values) -> Skipped:
    if "penstock.skipped.batches" not in values.attributes:
        return NOTHING_SKIPPED
    batches, requests, rows, *compute_ns = (
        values.read(f"penstock.skipped.{name}", 0)
        for name in ("batches", "requests", "rows", "input_ns", "infer_ns", "output_ns")
    )
    if not 1 <= batches <= min(requests, rows) or max(requests, rows) > MAX_SKIPPED or min(compute_ns) < 0:
        raise MalformedSpanError(
            f"attributes penstock.skipped.* tell of {requests} requests and {rows} rows in {batches} batches that "
            f"took {compute_ns} ns, expected 1 or more of each in a batch, at most {MAX_SKIPPED}, and no negative time"
        )
    drawn = _drawn(values, "penstock.skipped.drawn", requests=requests)
    return Skipped(batches, requests, rows, sum(compute_ns), drawn)


def _answers(values: Values, *, requests: int) -> tuple[bytes, bytes, bytes, bytes, bytes, bytes]:
    """What is said of answers, in the order of :class:`Batch`: 4 bytes for each request, or nothing."""

    def packed(name: str) -> bytes:
        return _packed(values, name, 4, requests=requests) if name in values.attributes else b""

    return (
        packed("penstock.requests.confidence"),
        packed("penstock.requests.class"),
        packed("penstock.requests.entropy"),
        packed("penstock.requests.norm"),
        packed("penstock.requests.length"),
        packed("penstock.requests.nonfinite"),
    )


def _sketch(values: Values, *, requests: int) -> tuple[bytes, bytes]:
    """Numbers of the requests that were sampled, and as many rows of equal width."""
    sampled: bytes = values.read("penstock.inputs.sampled", b"")
    sketch: bytes = values.read("penstock.inputs.sketch", b"")
    count, rest = divmod(len(sampled), 4)
    is_sound = (
        not rest and count <= requests and (not sketch if not count else 4 <= len(sketch) // count <= 4 * MAX_WIDTH)
    )
    if not is_sound or len(sketch) % max(4, 4 * count):
        raise MalformedSpanError(
            f"attributes penstock.inputs.sampled and penstock.inputs.sketch have {len(sampled)} and {len(sketch)} "
            f"bytes, expected 4 for each of at most {requests} requests, and 4 to {4 * MAX_WIDTH} for each of those"
        )
    return sampled, sketch


def pulse_of(span: KeptSpan, values: Values, *, instance: str) -> Pulse | None:
    """None of a replica that doesn't say which model it runs, or who it is.

    Raises:
        MalformedSpanError: a number is negative.
    """
    running_ns: int = values.read("penstock.replica.running_ns", 0)
    running_requests: int = values.read("penstock.replica.running_requests", 0)
    if running_ns < 0 or running_requests < 0:
        raise MalformedSpanError(
            f"a replica has run {running_requests} requests for {running_ns} ns, expected no negative number"
        )
    if not span.model or not span.version or not instance:
        return None
    is_stopping = values.read("penstock.replica.state", "") == "stopping"
    return Pulse(
        span.model, span.version, instance, span.trace_id, span.end_ns, is_stopping, running_ns, running_requests
    )


def _numbers(values: Values, name: str, *, batches: int | None = None) -> tuple[int, ...]:
    """A u32 for each batch of a span that stands for several; as many as there are if not said."""
    array: bytes = values.read(f"penstock.batches.{name}", b"")
    if len(array) % 4 or (batches is not None and len(array) != 4 * batches):
        expected = "4 for each batch" if batches is None else f"4 for each of {batches} batches"
        raise MalformedSpanError(f"attribute penstock.batches.{name} has {len(array)} bytes, expected {expected}")
    return struct.unpack(f"<{len(array) // 4}I", array)


def _packed(values: Values, name: str, size: int, *, requests: int) -> bytes:
    """An array with ``size`` bytes for each request."""
    array: bytes = values.read(name, b"")
    if len(array) != size * requests:
        raise MalformedSpanError(
            f"attribute {name} has {len(array)} bytes, expected {size} for each of {requests} requests"
        )
    return array


def rejection_of(span: KeptSpan, values: Values) -> Rejection | None:
    """None for a request that names no model: there is no series to count it in.

    Raises:
        MalformedSpanError: it stands for no number of requests, or too many.
    """
    weight: int = values.read("penstock.sample.weight", 1)
    if not 1 <= weight <= MAX_WEIGHT:
        raise MalformedSpanError(f"attribute penstock.sample.weight is {weight}, expected 1 to {MAX_WEIGHT}")
    if not span.model:
        return None
    outcome = outcome_of(
        rpc_status=values.read("rpc.response.status_code", ""),
        error_type=values.read("error.type", ""),
        http_status=values.read("http.response.status_code", 0),
    )
    named = next(
        (
            name
            for name in (values.read("rpc.response.status_code", ""), values.read("error.type", ""))
            if name in CODES
        ),
        "UNKNOWN",
    )
    return Rejection(
        span.model,
        span.version,
        span.trace_id,
        span.end_ns,
        outcome,
        weight,
        CODES.index(named),
        values.name("penstock.deployment.arm") or STABLE,
        values.read("penstock.request.is_drawn", False),
    )
