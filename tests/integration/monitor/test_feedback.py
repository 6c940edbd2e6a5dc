"""Labels meet answers in a real monitor: spans in, labels in, figures, incidents, verdicts and metrics out."""

from __future__ import annotations

import asyncio
import math
import random
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from penstock.monitor.v1 import drift_service_pb2 as drift_pb
from penstock.monitor.v1 import feedback_service_pb2 as pb
from penstock.monitor.v1 import monitor_service_pb2 as monitor_pb
from penstock.monitor.v1 import verdict_service_pb2 as verdict_pb
from penstock.monitor.v1.drift_service_pb2_grpc import DriftServiceStub
from penstock.monitor.v1.feedback_service_pb2_grpc import FeedbackServiceStub
from penstock.monitor.v1.verdict_service_pb2_grpc import VerdictServiceStub
from services.common.request_keys import request_key
from tests.support.monitor_process import RunningMonitor, monitor, span

CLASSES = 4


def predictions(
    ids: Sequence[str], classes: Sequence[int], *, end_ns: int, version: str = "1", confidence: float = 0.9
) -> Span:
    """What a model process tells of a classifier's answers."""
    rest = (1 - confidence) / (CLASSES - 1)
    probabilities = np.full((len(ids), CLASSES), rest, "<f2")
    probabilities[np.arange(len(ids)), list(classes)] = confidence
    attributes = {
        "penstock.model.name": "digits",
        "penstock.model.version": version,
        "penstock.requests.id": b"".join(request_key(one) for one in ids),
        "penstock.requests.class": np.array(classes, "<i4").tobytes(),
        "penstock.requests.confidence": np.full(len(ids), confidence, "<f4").tobytes(),
        "penstock.requests.value": np.full(len(ids), np.nan, "<f8").tobytes(),
        "penstock.requests.probabilities": probabilities.tobytes(),
    }
    return span("predictions digits", attributes, end_ns=end_ns, start_ns=end_ns - 1_000_000, kind=1)


def label(request_id: str, truth: int, **more: Any) -> pb.Label:
    return pb.Label(model="digits", request_id=request_id, class_index=truth, **more)


async def record(running: RunningMonitor, *labels: pb.Label) -> pb.RecordFeedbackResponse:
    return await FeedbackServiceStub(running.api_channel).RecordFeedback(pb.RecordFeedbackRequest(labels=labels))


async def quality(running: RunningMonitor) -> list[pb.VersionQuality]:
    answer = await FeedbackServiceStub(running.api_channel).ListQuality(pb.ListQualityRequest(model="digits"))
    return list(answer.versions)


async def answered(running: RunningMonitor, ids: Sequence[str], classes: Sequence[int], **more: Any) -> None:
    """Tell answers, and wait until they can be joined."""
    before = await kept(running)
    for start in range(0, len(ids), 4_000):
        part = slice(start, start + 4_000)
        await running.send(predictions(ids[part], classes[part], end_ns=running.clock(), **more))
    async with asyncio.timeout(20):
        while await kept(running) < before + len(ids):  # noqa: ASYNC110 - another process' figure
            await asyncio.sleep(0.05)


async def kept(running: RunningMonitor) -> int:
    return int(await metric(running, "penstock_monitor_predictions_kept "))


async def metric(running: RunningMonitor, beginning: str) -> float:
    page = await asyncio.to_thread(_page, running.metrics_port)
    return next((float(line.rpartition(" ")[2]) for line in page.splitlines() if line.startswith(beginning)), 0.0)


def _page(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        return str(answer.read().decode())


async def test_labels_meet_answers_once_and_give_accuracy_and_log_loss(tmp_path: Path) -> None:
    async with monitor(tmp_path) as running:
        await answered(running, ["a", "b", "c"], [0, 1, 2])

        first = await record(running, label("a", 0), label("b", 1, slices={"country": "de"}), label("c", 0))
        again = await record(running, label("a", 3), label("b", 1))
        (found,) = await quality(running)

    assert (first.joined_count, again.joined_count, again.duplicate_count) == (3, 0, 2)
    figures = {(one.metric, one.slice, one.is_recent): one for one in found.figures if not one.max_age_duration.seconds}
    accuracy = figures["accuracy", "", False]
    assert accuracy.label_count == 3
    assert accuracy.value == pytest.approx(2 / 3)
    assert accuracy.low < 2 / 3 < accuracy.high
    assert accuracy.guarantee == pb.QualityFigure.GUARANTEE_ANYTIME
    expected = (2 * -math.log(0.9) - math.log(0.1 / 3)) / 3
    assert figures["log_loss", "", False].value == pytest.approx(expected, rel=5e-3)
    assert figures["accuracy", "country=de", False].value == 1.0


async def test_a_label_may_come_before_its_answer(tmp_path: Path) -> None:
    async with monitor(tmp_path) as running:
        early = await record(running, label("a", 0))
        twice = await record(running, label("a", 0))
        await answered(running, ["a"], [0])
        (found,) = await _until_labels(running, 1)

    assert (early.pending_count, twice.duplicate_count) == (1, 1)
    assert found.label_count == 1


async def _until_labels(running: RunningMonitor, count: int) -> list[pb.VersionQuality]:
    async with asyncio.timeout(20):
        while True:
            found = await quality(running)
            if sum(one.label_count for one in found) >= count:
                return found
            await asyncio.sleep(0.05)


async def test_unknown_and_impossible_labels_are_counted_and_change_nothing(tmp_path: Path) -> None:
    async with monitor(tmp_path) as running:
        await answered(running, ["a", "b"], [0, 1])
        old = label("never", 0)
        old.label_time.FromNanoseconds(running.clock() - 3_600 * 10**9)
        answer = await record(
            running,
            old,
            label("a", CLASSES),
            label("", 1),
            pb.Label(model="digits", request_id="a", class_name="cat"),
            pb.Label(model="digits", request_id="b", number=1.5),
            pb.Label(model="digits", request_id="b"),
            pb.Label(model="digits", request_id="b", class_name="x" * 257),
            label("b", 1),
        )
        (found,) = await quality(running)
        refused = await metric(running, 'penstock_monitor_labels_total{outcome="refused"}')

    assert (answer.unknown_count, answer.refused_count, answer.joined_count) == (1, 6, 1)
    assert [one.index for one in answer.refusals] == [1, 2, 3, 4, 5, 6]
    assert "expected 0 to 3" in answer.refusals[0].reason
    assert found.label_count == 1
    assert refused == 6


async def test_an_id_that_was_used_twice_with_another_answer_takes_no_label(tmp_path: Path) -> None:
    async with monitor(tmp_path) as running:
        await answered(running, ["a", "b"], [0, 1])
        await running.send(predictions(["a", "b"], [2, 1], end_ns=running.clock()))
        async with asyncio.timeout(20):
            while not await metric(running, 'penstock_monitor_predictions_total{result="ambiguous"}'):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        answer = await record(running, label("a", 0), label("b", 1))

    assert (answer.refused_count, answer.joined_count) == (1, 1)
    assert "answered differently" in answer.refusals[0].reason


async def test_answers_and_waiting_labels_survive_a_restart(tmp_path: Path) -> None:
    async with monitor(tmp_path) as running:
        await answered(running, ["a", "b"], [0, 1])
        await record(running, label("a", 0), label("later", 2))
    async with monitor(tmp_path) as running:
        (found,) = await quality(running)
        assert found.label_count == 1
        duplicate = await record(running, label("a", 0), label("b", 1))
        await answered(running, ["later"], [2])
        await _until_labels(running, 3)

    assert (duplicate.duplicate_count, duplicate.joined_count) == (1, 1)


async def test_what_waits_for_too_long_goes_and_is_counted(tmp_path: Path) -> None:
    async with monitor(tmp_path, feedback_max_predictions=1_000) as running:
        await answered(running, [f"r{number}" for number in range(500)], [0] * 500)
        running.clock.skip(8 * 86_400)
        async with asyncio.timeout(30):
            while not await metric(running, 'penstock_monitor_predictions_total{result="expired"}'):  # noqa: ASYNC110
                await asyncio.sleep(0.2)
        assert await kept(running) == 0
        old = label("r1", 0)
        old.label_time.FromNanoseconds(running.clock() - 8 * 86_400 * 10**9)
        assert (await record(running, old)).unknown_count == 1


async def test_lost_accuracy_becomes_an_incident_and_shows_in_drift(tmp_path: Path) -> None:
    draw = random.Random(1)
    async with monitor(tmp_path) as running:
        number = 0
        for count, accuracy in ((1_500, 0.95), (400, 0.2)):
            ids = [f"r{number + one}" for one in range(count)]
            number += count
            truths = [draw.randrange(CLASSES) for _ in ids]
            said = [one if draw.random() < accuracy else (one + 1) % CLASSES for one in truths]
            await answered(running, ids, said)
            for start in range(0, count, 500):
                part = slice(start, start + 500)
                await record(running, *map(label, ids[part], truths[part]))
        await running.serve_seconds(16)
        incident = await _until_incident(running)
        drift = await DriftServiceStub(running.api_channel).ListDrift(drift_pb.ListDriftRequest(model="digits"))

    async with monitor(tmp_path, clock=running.clock) as again:
        after = await _until_incident(again)
        assert (after.name, after.state) == (incident.name, monitor_pb.Incident.STATE_OPEN)
        (found,) = await quality(again)
        assert found.label_count == 1_900

    assert incident.version == "1"
    assert incident.before == pytest.approx(0.05, abs=0.02)
    assert incident.after > 0.5
    assert "Accuracy of digits version 1 fell from 9" in incident.summary
    figures = [one for one in drift.versions[0].figures if one.signal == monitor_pb.Incident.SIGNAL_ACCURACY]
    assert [one.state for one in figures] == [drift_pb.WatchedFigure.STATE_ALARMED]


async def _until_incident(running: RunningMonitor) -> monitor_pb.Incident:
    async with asyncio.timeout(20):
        while True:
            found = await running.api.ListIncidents(monitor_pb.ListIncidentsRequest(model="digits"))
            for one in found.incidents:
                if one.signal == monitor_pb.Incident.SIGNAL_ACCURACY:
                    return one
            await asyncio.sleep(0.1)


async def test_a_canary_with_worse_answers_is_rolled_back_by_its_labels(tmp_path: Path) -> None:
    draw = random.Random(2)
    async with monitor(tmp_path) as running:
        verdicts = VerdictServiceStub(running.api_channel)
        guardrail = verdict_pb.Guardrail(signal=verdict_pb.Guardrail.SIGNAL_ACCURACY, margin=0.05)
        request = verdict_pb.CompareVersionsRequest(
            comparison_id="trial", model="digits", candidate="2", baseline="1", guardrails=[guardrail]
        )
        await verdicts.CompareVersions(request)
        running.clock.skip(1)
        for lot in range(6):
            for version, accuracy in (("1", 0.95), ("2", 0.7)):
                ids = [f"{version}-{lot}-{one}" for one in range(100)]
                said = [0 if draw.random() < accuracy else 1 for _ in ids]
                await answered(running, ids, said, version=version)
            ids = [f"{version}-{lot}-{one}" for one in range(100) for version in ("1", "2")]
            await record(running, *(label(one, 0) for one in ids))
        async with asyncio.timeout(20):
            while True:
                asked = verdict_pb.GetComparisonRequest(name="comparisons/trial")
                comparison = (await verdicts.GetComparison(asked)).comparison
                if comparison.is_final:
                    break
                await asyncio.sleep(0.1)

    assert comparison.decision == verdict_pb.DECISION_ROLL_BACK
    assert "wrong answers by labels" in comparison.reason
    assert comparison.evidence[0].candidate_count > 100


async def test_a_flood_of_calls_is_pushed_back(tmp_path: Path) -> None:
    async with monitor(tmp_path) as running:
        await answered(running, [f"r{one}" for one in range(1_000)], [0] * 1_000)
        labels = [label(f"r{one}", 0) for one in range(1_000)]
        outcomes = await asyncio.gather(*(record(running, *labels) for _ in range(40)), return_exceptions=True)
        (found,) = await quality(running)

    refused = [one for one in outcomes if isinstance(one, grpc.aio.AioRpcError)]
    assert {one.code() for one in refused} <= {grpc.StatusCode.RESOURCE_EXHAUSTED}
    taken = [one for one in outcomes if isinstance(one, pb.RecordFeedbackResponse)]
    assert sum(one.joined_count for one in taken) == 1_000
    assert sum(one.duplicate_count for one in taken) == 1_000 * (len(taken) - 1)
    assert found.label_count == 1_000


async def test_too_many_labels_at_once_are_refused(tmp_path: Path) -> None:
    async with monitor(tmp_path) as running:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await record(running, *(label(f"r{one}", 0) for one in range(1_001)))

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
