"""The monitor's CPU per request: spans as model processes send them, read, counted and judged."""

from __future__ import annotations

import time

import numpy as np

from penstock.otlp.v1.trace_pb2 import TraceRequest
from services.common.span_encoding import AttributeValue, SpanKind, encode_origin, encode_request, encode_span
from services.common.tracing import TraceContext
from services.monitor import otlp
from services.monitor.domain.blocks import Batch
from services.monitor.evaluation.replay import Replay
from services.monitor.evaluation.stream import SpanStream, Traffic

_SECONDS, _WARM_S = 100, 80
_RATE = 30_000.0


def analysis_cost() -> tuple[float, float]:
    """Microseconds per request of reading spans, and of what follows, once everything is learnt."""
    traffic = Traffic(rate=lambda t: _RATE if t >= _WARM_S else 200.0, replicas=4, base_s=0.0005, per_row_s=0.00005)
    replay, stream = Replay(), SpanStream(traffic)
    read_s = judged_s = 0.0
    requests = 0
    for second, (now_ns, spans) in enumerate(stream.run(until_s=_SECONDS)):
        messages = [_encoded(one) for one in spans if isinstance(one, Batch)]
        began = time.process_time()
        readings = [reading for message in messages for reading in otlp.read(TraceRequest.FromString(message)).spans]
        read = time.process_time()
        replay.now_ns = now_ns
        replay.analysis.take(readings)
        list(replay.analysis.judge())
        if second > _WARM_S:
            read_s, judged_s = read_s + read - began, judged_s + time.process_time() - read
            requests += sum(len(one.status) for one in spans if isinstance(one, Batch))
    return read_s / requests * 1e6, judged_s / requests * 1e6


def _encoded(batch: Batch) -> bytes:
    several = {
        name: np.array(values, "<u4").tobytes()
        for name, values in (
            ("requests", batch.sizes),
            ("rows", batch.rows),
            ("input_ns", batch.compute_ns[0]),
            ("infer_ns", batch.compute_ns[1]),
            ("output_ns", batch.compute_ns[2]),
        )
    }
    attributes: dict[str, AttributeValue] = {
        "penstock.model.name": batch.model,
        "penstock.model.version": batch.version,
        "penstock.requests.trace_id": batch.trace_ids,
        "penstock.requests.wait_us": batch.wait_us,
        "penstock.requests.total_us": batch.total_us,
        "penstock.requests.status": batch.status,
        "penstock.requests.confidence": batch.confidence,
        "penstock.requests.class": batch.classes,
        "penstock.requests.entropy": batch.entropy,
        "penstock.inputs.sampled": batch.sampled,
        "penstock.inputs.sketch": batch.sketch,
        **{f"penstock.batches.{name}": values for name, values in several.items()},
    }
    span = encode_span(
        f"batch {batch.model}",
        TraceContext.new_root(is_sampled=True),
        kind=SpanKind.CONSUMER,
        start_ns=batch.start_ns,
        end_ns=batch.end_ns,
        attributes=attributes,
    )
    names = {"service.name": "penstock-inference", "service.instance.id": batch.instance}
    return encode_request(encode_origin(names, scope="penstock", version="1"), [span])
