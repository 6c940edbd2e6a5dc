from __future__ import annotations

from collections import defaultdict

import pytest

from services.monitor.evaluation.periods import Period
from services.monitor.evaluation.spans import Place, Span, visits
from services.monitor.evaluation.suspects import rank
from tests.unit.monitor.evaluation.span_trees import REPLICAS, SERVICES, Fault, Shop


def period(spans: list[Span]) -> Period:
    found, traces = Period(), defaultdict(list)
    for span in spans:
        traces[span.trace_id].append(span)
    for trace in traces.values():
        found.add(list(visits(trace)))
    return found


REFERENCE = period(Shop(1).traces(400))


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("kind", ["slow", "errors"])
def test_the_service_at_fault_comes_first(service: str, kind: str) -> None:
    suspects = rank(REFERENCE, period(Shop(2, Fault(kind, service, share=0.5)).traces(200)))

    assert suspects[0].place.service == service
    assert kind.replace("slow", "latency") in suspects[0].reasons[0]
    assert suspects[0].score > 2 * max([one.score for one in suspects if one.place.service != service], default=0)


@pytest.mark.parametrize("service", sorted(REPLICAS))
@pytest.mark.parametrize("kind", ["slow", "errors"])
def test_the_replica_at_fault_comes_before_its_siblings(service: str, kind: str) -> None:
    suspects = rank(REFERENCE, period(Shop(3, Fault(kind, service, replica=f"{service}-1")).traces(200)))

    assert (suspects[0].place.service, suspects[0].place.replica) == (service, f"{service}-1")


@pytest.mark.parametrize("service", ["catalog", "checkout", "frontend"])
def test_calls_that_are_left_out_are_laid_to_the_caller(service: str) -> None:
    suspects = rank(REFERENCE, period(Shop(4, Fault("early return", service, share=0.4)).traces(200)))

    assert suspects[0].place == Place(service, f"serve {service}", suspects[0].place.replica)
    assert suspects[0].reasons[0].startswith("shape")


@pytest.mark.parametrize("service", ["database", "payment", "cache"])
def test_a_service_that_answers_nobody_is_named_though_it_has_no_spans(service: str) -> None:
    suspects = rank(REFERENCE, period(Shop(5, Fault("dead", service)).traces(200)))

    assert suspects[0].place.service == service


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_suspect_when_nothing_changed(seed: int) -> None:
    assert rank(REFERENCE, period(Shop(10 + seed).traces(300))) == []


def test_time_in_parallel_children_is_taken_off_once() -> None:
    trace = [
        Span("t", "a", "", "s", "root", "r", 0, 100),
        Span("t", "b", "a", "s", "left", "r", 10, 50),
        Span("t", "c", "a", "s", "right", "r", 30, 50),
        Span("t", "d", "a", "s", "outlives it", "r", 90, 500),
    ]

    assert next(one.own_ns for one in visits(trace) if one.place.operation == "root") == 100 - 70 - 10


def test_repeated_spans_loops_and_orphans_are_no_error() -> None:
    span = Span("t", "a", "a", "s", "own parent", "", 0, 10)
    orphan = Span("t", "b", "gone", "s", "orphan", "", 0, 10, True)
    cycle = [Span("t", "c", "d", "s", "c", "", 0, 10), Span("t", "d", "c", "s", "d", "", 0, 10)]

    found = {one.place.operation: one for one in visits([span, span, orphan, *cycle])}

    assert set(found) == {"own parent", "orphan", "c", "d"}
    assert found["orphan"].is_error_origin
