"""The packed arrays of a batch span, and which spans are made."""

from __future__ import annotations

import random
import struct
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from penstock.queue.v1.envelope_pb2 import Arm
from services.common.errors import InternalError
from services.common.tracing import TraceContext
from services.inference.domain.signature import Signature, TensorSpec
from services.inference.domain.sketching import SketchInputs
from services.inference.model_process.execution import Outcome
from services.inference.model_process.statistics import Kept, Statistics
from services.inference.model_process.telemetry import Telemetry
from services.inference.model_process.tensors import Tensors
from services.inference.model_process.thinning import MOST_PER_SECOND, Thinning, one_in
from services.inference.model_process.worker import BatchReport, Settled
from tests.support.batch_reports import TRACE, Answering, report, settled, tensors

SIGNATURE = Signature((TensorSpec("x0", "FP32", (-1, 2)),), (TensorSpec("SCORES", "FP32", (-1, 4)),), is_batchable=True)
CLASSIFIER = Answering(np.zeros((1, 4), np.float32))


class Exporter:
    is_enabled = True

    def __init__(self) -> None:
        self.spans: list[tuple[str, TraceContext, dict[str, Any]]] = []

    def export(self, name: str, context: TraceContext, **rest: Any) -> None:
        self.spans.append((name, context, rest))


def scores(*rows: Sequence[float]) -> Kept | Statistics | None:
    """A classifier's, of requests of one row each."""
    return CLASSIFIER.answers(np.array(rows, np.float32), rows=[1] * len(rows))


def quick(*members: Settled, start_ns: int = 5_000_000, **rest: Any) -> BatchReport:
    return report(*members, start_ns=start_ns, end_ns=start_ns + 1_000_000, **rest)


class Clock:
    """Timers that ring when they are told to."""

    def __init__(self) -> None:
        self.timers: list[Timer] = []

    def later(self, _seconds: float, call: Callable[[], None]) -> Any:
        self.timers.append(Timer(call))
        return self.timers[-1]

    def ring(self) -> None:
        for timer in list(self.timers):
            if not timer.is_cancelled:
                timer.call()


class Timer:
    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


def made(
    exporter: Any,
    clock: Clock,
    *,
    signature: Signature = SIGNATURE,
    sketch_inputs: SketchInputs = "all",
    now_ns: int = 0,
) -> Telemetry:
    return Telemetry(
        exporter,
        model="m",
        version="1",
        device="cpu",
        later=clock.later,
        signature=signature,
        sketch_inputs=sketch_inputs,
        now_ns=lambda: now_ns,
    )


def spans_of(*batches: BatchReport, clock: Clock | None = None) -> list[tuple[str, TraceContext, dict[str, Any]]]:
    """The spans of batches that end one after the other; without a clock, all that is gathered is exported at last."""
    exporter = Exporter()
    telemetry = made(exporter, clock or Clock())
    for batch in batches:
        telemetry.batch_ended(batch)
    if clock is None:
        telemetry.flush()
    return exporter.spans


def test_the_batch_span_carries_every_request_in_order() -> None:
    batch = report(
        settled(Outcome(b"x")),
        settled(Outcome(error=InternalError("broke", reason="MODEL_ERROR")), traceparent="odd", enqueue_ns=6_000_000),
        answers=scores([0.0, 0.25, 0.0, 0.75], [0.0, 0.5, 0.5, 0.0]),
    )
    name, context, rest = spans_of(batch)[0]
    attributes = rest["attributes"]
    assert (name, context) == ("batch m", batch.span)
    assert attributes["penstock.requests.trace_id"] == bytes.fromhex("ab" * 16) + bytes(16)
    assert attributes["penstock.requests.wait_us"] == struct.pack("<2I", 5_000, 0)
    assert attributes["penstock.requests.total_us"] == struct.pack("<2I", 9_000, 3_000)
    assert attributes["penstock.requests.status"] == bytes([0, 13])
    assert attributes["penstock.requests.confidence"][:4] == struct.pack("<f", 0.75)
    assert attributes["penstock.requests.class"] == struct.pack("<2i", 3, 1)
    assert (attributes["penstock.batch.rows"], attributes["messaging.batch.message_count"]) == (4, 2)
    assert rest["error"] is None, "one of them succeeded"


def test_the_gateways_span_speaks_for_a_request_that_it_gave_up() -> None:
    late = [
        replace(settled(outcome), is_abandoned=True) for outcome in (Outcome(b"x"), Outcome(error=InternalError("x")))
    ]

    attributes = spans_of(report(*late, settled(Outcome(b"x"))))[0][2]["attributes"]

    assert attributes["penstock.requests.status"] == bytes([1, 1, 0])


def test_sampled_and_failed_requests_get_a_span_that_links_to_the_batch_and_back() -> None:
    batch = report(
        settled(Outcome(b"x")),
        settled(Outcome(b"x"), is_sampled=True),
        settled(Outcome(error=InternalError("broke", reason="MODEL_ERROR"))),
    )
    (_, _, whole), sampled, failed = spans_of(batch)
    parent = TraceContext.parse(TRACE)
    assert whole["links"] == [parent]
    assert (sampled[0], sampled[2]["parent"], sampled[2]["links"]) == ("process m", parent, [batch.span])
    assert (failed[2]["attributes"]["error.type"], failed[2]["error"]) == ("MODEL_ERROR", "broke")


def test_a_batch_that_failed_as_a_whole_is_a_failed_span() -> None:
    rest = spans_of(report(settled(Outcome(error=InternalError("broke", reason="MODEL_ERROR")))))[0][2]
    assert (rest["error"], rest["attributes"]["error.type"]) == ("broke", "MODEL_ERROR")


def test_quick_batches_in_a_row_share_a_span_that_says_what_each_did() -> None:
    first = quick(settled(Outcome(b"x"), enqueue_ns=4_000_000), settled(Outcome(b"x"), enqueue_ns=5_000_000))
    second = quick(settled(Outcome(b"x"), enqueue_ns=6_000_000), start_ns=7_000_000)
    ((name, context, rest),) = spans_of(first, second)
    attributes = rest["attributes"]
    assert (name, context, rest["start_ns"], rest["end_ns"]) == ("batch m", first.span, 5_000_000, 8_000_000)
    assert attributes["penstock.requests.wait_us"] == struct.pack("<3I", 1_000, 0, 1_000)
    assert attributes["penstock.requests.total_us"] == struct.pack("<3I", 2_000, 1_000, 2_000)
    assert attributes["penstock.requests.trace_id"] == bytes.fromhex("ab" * 16) * 3
    assert attributes["penstock.batch.count"] == 2
    assert (attributes["penstock.batch.rows"], attributes["messaging.batch.message_count"]) == (6, 3)
    assert attributes["penstock.compute.infer_ns"] == 4
    assert attributes["penstock.batches.requests"] == struct.pack("<2I", 2, 1)
    assert attributes["penstock.batches.rows"] == struct.pack("<2I", 4, 2)
    assert attributes["penstock.batches.infer_ns"] == struct.pack("<2I", 2, 2)


def test_what_more_is_to_be_told_of_has_a_span_of_its_own() -> None:
    plain = quick(settled(Outcome(b"x")))
    sampled = quick(settled(Outcome(b"x"), is_sampled=True))
    failed = quick(settled(Outcome(error=InternalError("broke", reason="MODEL_ERROR"))))
    slow = report(settled(Outcome(b"x")), end_ns=15_000_000)
    batches = [span for span in spans_of(plain, sampled, failed, slow, plain) if span[0] == "batch m"]
    counts = {context: rest["attributes"].get("penstock.batch.count") for _, context, rest in batches}
    assert counts == {failed.span: None, slow.span: None, sampled.span: None, plain.span: 2}


def test_a_request_that_another_process_died_with_has_a_span_that_says_so() -> None:
    taken_over = settled(Outcome(b"x"))
    taken_over.delivery.is_suspect, taken_over.delivery.delivery_count = True, 2
    plain, alone = quick(settled(Outcome(b"x"))), quick(taken_over)
    batches = [span for span in spans_of(plain, alone, plain) if span[0] == "batch m"]
    counts = {context: rest["attributes"].get("penstock.queue.delivery_count") for _, context, rest in batches}
    assert counts == {alone.span: alone.settled[0].delivery.attempt, plain.span: None}


def test_what_no_classifier_would_answer_has_no_class() -> None:
    classified = quick(settled(Outcome(b"x")), answers=scores([0.0, 0.25, 0.0, 0.75]))
    ((_, _, rest),) = spans_of(classified, classified, quick(settled(Outcome(b"x"))))
    assert rest["attributes"]["penstock.requests.class"] == struct.pack("<3i", 3, 3, -1)
    assert np.isnan(np.frombuffer(rest["attributes"]["penstock.requests.confidence"], "<f4")).tolist() == [0, 0, 1]


def test_what_was_gathered_is_exported_soon_and_once() -> None:
    clock = Clock()
    batch = quick(settled(Outcome(b"x")))
    assert spans_of(batch, clock=clock) == []
    spans = spans_of(*[batch] * 32_785, clock=(clock := Clock()))
    assert [rest["attributes"]["penstock.batch.count"] for _, _, rest in spans] == [32_768]
    clock.ring()
    assert [rest["attributes"]["penstock.batch.count"] for _, _, rest in spans] == [32_768, 17]
    clock.ring()
    assert len(spans) == 2


class Steady(random.Random):
    """Draws the mean, so that every so manieth is chosen."""

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        assert stop is not None
        return (start + stop) // 2


def thinned(*, batches: int) -> tuple[Telemetry, Clock, Exporter]:
    """Telemetry after a second with so many quick batches, of which all were told."""
    telemetry = made(exporter := Exporter(), clock := Clock())
    telemetry._thinning = telemetry._spans._thinning = Thinning(Steady())
    for _ in range(batches):
        telemetry.batch_ended(quick(settled(Outcome(b"x"))))
    clock.ring()
    assert sum(rest["attributes"]["messaging.batch.message_count"] for _, _, rest in exporter.spans) == batches
    assert not [name for _, _, rest in exporter.spans for name in rest["attributes"] if "skipped" in name]
    exporter.spans.clear()
    return telemetry, clock, exporter


def test_of_very_many_quick_batches_most_are_only_counted() -> None:
    telemetry, clock, exporter = thinned(batches=2 * MOST_PER_SECOND)
    for _ in range(3 * MOST_PER_SECOND):
        telemetry.batch_ended(quick(settled(Outcome(b"x")), settled(Outcome(b"x"))))
    clock.ring()
    ((_, _, rest),) = exporter.spans
    attributes = rest["attributes"]
    told, skipped = attributes["penstock.batch.count"], attributes["penstock.skipped.batches"]
    assert abs(told - 1.5 * MOST_PER_SECOND) <= 1
    assert told + skipped == 3 * MOST_PER_SECOND
    assert attributes["penstock.skipped.requests"] == 2 * skipped
    assert attributes["penstock.skipped.rows"] == 4 * skipped
    assert [attributes[f"penstock.skipped.{part}_ns"] for part in ("input", "infer", "output")] == [
        skipped,
        2 * skipped,
        3 * skipped,
    ]


@pytest.mark.parametrize(
    ("batches", "requests", "expected"),
    [(0, 0, 1), (200, 1_000, 1), (90, 9_000, 1), (201, 201, 2), (150, 6_000, 2), (400, 1_500, 2), (1_600, 16_000, 16)],
)
def test_batches_are_told_of_less_often_the_more_and_the_larger_they_are(
    batches: int, requests: int, expected: int
) -> None:
    assert one_in(batches, requests) == expected


def test_every_batch_is_told_or_counted_whatever_comes_between() -> None:
    telemetry, clock, exporter = thinned(batches=10 * MOST_PER_SECOND)
    random_, ended, told_in_full = random.Random(7), 0, 0
    for number in range(20_000):
        member = settled(Outcome(b"x"), is_sampled=random_.random() < 0.02)
        if random_.random() < 0.02:
            member = replace(member, is_abandoned=True)
        told_in_full += member.delivery.entry.envelope.is_sampled or member.is_abandoned
        batch = quick(member) if random_.random() < 0.95 else report(member, end_ns=50_000_000)
        telemetry.batch_ended(batch)
        ended += 1
        if number % 997 == 0:
            clock.ring()
    telemetry.stop()
    spans = [rest["attributes"] for name, _, rest in exporter.spans if name == "batch m"]
    told = sum(attributes["messaging.batch.message_count"] for attributes in spans)
    assert told + sum(attributes.get("penstock.skipped.requests", 0) for attributes in spans) == ended
    assert told_in_full <= told < ended / 2


def test_what_more_is_to_be_told_of_is_told_however_many_there_are_and_shows_nothing_of_the_others() -> None:
    telemetry, _, exporter = thinned(batches=50 * MOST_PER_SECOND)
    first, plain = quick(settled(Outcome(b"x"))), quick(settled(Outcome(b"x")))
    special = [
        quick(settled(Outcome(b"x"), is_sampled=True)),
        quick(replace(settled(Outcome(b"x")), is_abandoned=True)),
        quick(settled(Outcome(error=InternalError("broke", reason="MODEL_ERROR")))),
        report(settled(Outcome(b"x")), end_ns=15_000_000, answers=scores([0.5, 0.5, 0.0, 0.0])),
    ]
    for batch in (first, plain, *special, plain):
        telemetry.batch_ended(batch)
    telemetry.stop()
    told = {context: rest["attributes"] for name, context, rest in exporter.spans if name == "batch m"}
    assert set(told) == {batch.span for batch in (first, *special)}
    assert sum(attributes.get("penstock.skipped.batches", 0) for attributes in told.values()) == 2
    extras = [told[batch.span] for batch in special if told[batch.span].get("penstock.batch.is_extra")]
    assert len(extras) >= 3, "one may have been chosen besides"
    assert not [name for attributes in extras for name in attributes if name.startswith("penstock.inputs")]
    assert "penstock.requests.class" not in told[special[3].span]


def test_what_a_rollout_drew_is_counted_whether_its_batch_is_told_of_or_skipped() -> None:
    telemetry, clock, exporter = thinned(batches=2 * MOST_PER_SECOND)
    drawn, named = ({"arm": Arm.ARM_CANARY, "is_drawn": is_drawn} for is_drawn in (True, False))
    for _ in range(3 * MOST_PER_SECOND):
        telemetry.batch_ended(quick(*(settled(Outcome(b"x"), **said) for said in (named, drawn, drawn))))
    clock.ring()
    ((_, _, rest),) = exporter.spans
    attributes = rest["attributes"]
    assert attributes["penstock.deployment.arm"] == "canary"
    assert attributes["penstock.batch.drawn"] == 2 * attributes["penstock.batch.count"]
    assert attributes["penstock.skipped.drawn"] == 2 * attributes["penstock.skipped.batches"]


def test_batches_share_a_span_with_those_of_the_same_arm_only() -> None:
    exporter = Exporter()
    telemetry = made(exporter, Clock())
    for arm in (Arm.ARM_UNSPECIFIED, Arm.ARM_SHADOW, Arm.ARM_SHADOW):
        telemetry.batch_ended(quick(settled(Outcome(b"x"), arm=arm, is_drawn=bool(arm))))
        telemetry._work_off()
    telemetry.flush()
    told = [rest["attributes"] for _, _, rest in exporter.spans]
    assert [one["messaging.batch.message_count"] for one in told] == [1, 2]
    assert [one.get("penstock.deployment.arm") for one in told] == [None, "shadow"]
    assert [one.get("penstock.batch.drawn") for one in told] == [None, 2]


def test_a_span_of_one_batch_counts_none() -> None:
    assert "penstock.batch.count" not in spans_of(quick(settled(Outcome(b"x"))))[0][2]["attributes"]


def test_large_requests_are_let_go_of_at_once() -> None:
    content = memoryview(bytes(20_000))
    large, held = quick(settled(Outcome(b"x"), request=content)), weakref.ref(content)
    telemetry = made(Exporter(), Clock())
    telemetry.batch_ended(large)
    del large, content
    assert held() is None


def test_answers_of_a_classifier_are_told_by_entropy_too() -> None:
    ((_, _, rest),) = spans_of(quick(settled(Outcome(b"x")), answers=scores([0.5, 0.5, 0.0, 0.0])))
    (entropy,) = struct.unpack("<f", rest["attributes"]["penstock.requests.entropy"])
    assert np.isclose(entropy, np.log(2))
    assert "penstock.requests.norm" not in rest["attributes"]
    assert "penstock.requests.nonfinite" not in rest["attributes"]


def test_answers_of_anything_else_are_told_by_their_norm_and_by_what_is_no_number() -> None:
    first = quick(settled(Outcome(b"x")), answers=scores([3.0, 4.0, 0.0, 0.0]))
    second = quick(settled(Outcome(b"x")), answers=scores([np.nan, np.inf, 0.0, 0.0]))
    ((_, _, rest),) = spans_of(first, second)
    attributes = rest["attributes"]
    norms = np.frombuffer(attributes["penstock.requests.norm"], "<f4")
    assert (norms[0], np.isnan(norms[1])) == (2.5, True)
    assert attributes["penstock.requests.nonfinite"] == struct.pack("<2I", 0, 2)
    assert "penstock.requests.class" not in attributes


def test_lengths_are_told_where_answers_differ_in_size() -> None:
    free = replace(SIGNATURE, outputs=(TensorSpec("TEXT", "BYTES", (-1, 1)),))
    exporter, clock = Exporter(), Clock()
    telemetry = made(exporter, clock, signature=free)
    telemetry.batch_ended(quick(settled(Outcome(b"four")), settled(Outcome(b"twelve bytes"))))
    telemetry.flush()
    assert exporter.spans[0][2]["attributes"]["penstock.requests.length"] == struct.pack("<2I", 4, 12)


def asks(*values: float) -> Tensors:
    return tensors(np.array([values], np.float32))


def test_inputs_are_sketched_by_the_number_of_the_request_in_the_span() -> None:
    first = quick(settled(Outcome(b"x")), asks=[asks(1, 2)])
    second = quick(settled(Outcome(b"x")), settled(Outcome(b"x")), asks=[asks(3, 4), asks(5, 6)])
    ((_, _, rest),) = spans_of(first, second)
    attributes = rest["attributes"]
    assert attributes["penstock.inputs.sampled"] == struct.pack("<3I", 0, 1, 2)
    assert np.frombuffer(attributes["penstock.inputs.sketch"], "<f4").tolist() == [1, 2, 3, 4, 5, 6]


def test_nothing_is_told_of_inputs_where_that_is_not_wanted() -> None:
    exporter = Exporter()
    telemetry = made(exporter, Clock(), sketch_inputs="off")
    telemetry.batch_ended(quick(settled(Outcome(b"x")), asks=[asks(1, 2)]))
    telemetry.flush()
    ((_, _, rest),) = exporter.spans
    assert not [name for name in rest["attributes"] if name.startswith("penstock.inputs")]
    assert b"penstock.inputs" not in rest["more"]


def test_a_batch_that_runs_for_long_is_told_of_every_second() -> None:
    exporter, clock = Exporter(), Clock()
    telemetry = made(exporter, clock, now_ns=8_000_000_000)
    telemetry.batch_began(3, 5_000_000_000)
    clock.ring()
    ((name, _, rest),) = exporter.spans
    assert name == "pulse m"
    assert rest["attributes"] == {
        "penstock.replica.state": "running",
        "penstock.replica.running_ns": 3_000_000_000,
        "penstock.replica.running_requests": 3,
    }


def test_a_batch_that_ended_is_told_of_no_more() -> None:
    exporter, clock = Exporter(), Clock()
    telemetry = made(exporter, clock, now_ns=8_000_000_000)
    telemetry.batch_began(1, 5_000_000_000)
    telemetry.batch_ended(replace(quick(settled(Outcome(b"x"))), start_ns=5_000_000_000))
    for timer in list(clock.timers):
        timer.call()
    assert [name for name, _, _ in exporter.spans] == ["batch m"]


def test_nothing_is_looked_at_while_nothing_is_done() -> None:
    exporter, clock = Exporter(), Clock()
    telemetry = made(exporter, clock)
    telemetry.batch_began(1, 5)
    telemetry.batch_ended(replace(quick(settled(Outcome(b"x"))), start_ns=5))
    for _ in range(5):
        clock.timers[-1].call()
    looks = len(clock.timers)
    assert looks < 5


def test_a_process_that_stops_says_so_last() -> None:
    exporter, clock = Exporter(), Clock()
    telemetry = made(exporter, clock)
    telemetry.batch_ended(quick(settled(Outcome(b"x"))))
    telemetry.stop()
    assert [name for name, _, _ in exporter.spans] == ["batch m", "pulse m"]
    assert exporter.spans[1][2]["attributes"]["penstock.replica.state"] == "stopping"
