"""Verdicts through the real thing: asked for, watched, kept over a restart, refused with the right status."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf.duration_pb2 import Duration

from penstock.monitor.v1 import monitor_service_pb2 as monitor_pb
from penstock.monitor.v1 import verdict_service_pb2 as pb
from penstock.monitor.v1.verdict_service_pb2_grpc import VerdictServiceStub
from services.monitor import verdict_messages
from services.monitor.domain.blocks import NS
from services.monitor.domain.verdict.guardrails import Proof
from services.monitor.verdict_keeper import MAX_UNDER_WAY, VerdictKeeper
from tests.integration.monitor.test_journal import rename
from tests.support.monitor_database import comparison_store, url_of
from tests.support.monitor_process import Clock, RunningMonitor, batch_span, monitor

Eventually = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]

ERRORS = pb.Guardrail(signal=pb.Guardrail.SIGNAL_ERROR_RATE, margin=0.1)
P50 = pb.Guardrail(
    signal=pb.Guardrail.SIGNAL_LATENCY,
    phase=monitor_pb.PHASE_TOTAL,
    level=0.5,
    margin=0.3,
    proof=pb.Guardrail.PROOF_NEVER,
)


def asked(**changes: Any) -> pb.CompareVersionsRequest:
    values: dict[str, Any] = {
        "comparison_id": "trial",
        "model": "digits",
        "candidate": "2",
        "baseline": "1",
        "weight": 0.25,
        "min_request_count": 50,
        "min_duration": Duration(seconds=5),
        "guardrails": [ERRORS, P50],
    }
    return pb.CompareVersionsRequest(**{**values, **changes})


def stub(running: RunningMonitor) -> VerdictServiceStub:
    return VerdictServiceStub(running.api_channel)


async def serve(running: RunningMonitor, seconds: int, **candidate: Any) -> None:
    """Both versions answer for so long: 5 requests a second of the candidate, 15 of the baseline."""
    for _ in range(seconds):
        running.clock.skip(1)
        now_ns = running.clock()
        await running.send(
            *(
                batch_span(end_ns=now_ns - at * NS // 50, version="2", **{"status": (0,), **candidate})
                for at in range(5)
            ),
            *(batch_span(end_ns=now_ns - at * NS // 50, version="1", status=(0,)) for at in range(15)),
        )
        await asyncio.sleep(0.02)


async def code_of(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


async def test_a_failing_candidate_is_rolled_back_and_watchers_are_told(
    running: RunningMonitor, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    api = stub(running)
    begun = (await api.CompareVersions(asked())).comparison
    assert (begun.name, begun.decision, begun.is_final) == ("comparisons/trial", pb.DECISION_CONTINUE, False)
    watch = aiter(api.WatchComparison(pb.WatchComparisonRequest(name=begun.name)))
    assert (await anext(watch)).comparison == begun

    with caplog.at_level(logging.WARNING, "services.monitor.verdict_keeper"):
        await serve(running, 20, status=(13,))
        seen = [message.comparison async for message in watch]

    last = seen[-1]
    assert (last.decision, last.is_final) == (pb.DECISION_ROLL_BACK, True)
    assert last.reason.startswith("version 2 is worse: errors: 100 % against 0 %")
    errors = last.evidence[0]
    assert errors.is_harmed
    assert errors.harm_log_evalue >= errors.harm_log_evalue_needed
    assert errors.candidate.low > errors.baseline.high
    assert errors.candidate_count <= 100
    assert last.split.is_checked
    assert not last.split.is_broken
    assert any("roll_back" in record.message for record in caplog.records)
    assert (await api.CompareVersions(asked())).comparison == last

    async def stored() -> Any:
        return (await api.GetComparison(pb.GetComparisonRequest(name=begun.name))).comparison == last

    assert await eventually(stored)


async def test_a_good_candidate_is_promoted_over_a_restart(tmp_path: Path, eventually: Eventually) -> None:
    clock = Clock()
    question = asked(guardrails=[ERRORS], min_request_count=120)
    async with monitor(tmp_path, clock=clock) as first:
        await stub(first).CompareVersions(question)
        await serve(first, 15)

        async def half() -> Any:
            found = (await stub(first).GetComparison(pb.GetComparisonRequest(name="comparisons/trial"))).comparison
            return found if found.candidate_request_count >= 50 else None

        before = await eventually(half)
        assert before.decision == pb.DECISION_CONTINUE

    clock.skip(30)
    async with monitor(tmp_path, clock=clock) as second:
        again = (await stub(second).CompareVersions(question)).comparison
        assert again.candidate_request_count >= before.candidate_request_count
        assert again.restart_count == 1
        assert 25 <= again.unseen_duration.seconds <= 60
        await serve(second, 25)

        async def promoted() -> Any:
            found = (await stub(second).GetComparison(pb.GetComparisonRequest(name="comparisons/trial"))).comparison
            return found if found.decision == pb.DECISION_PROMOTE else None

        last = await eventually(promoted)
        assert last.candidate_request_count < 5 * 40 + 1
        assert not last.is_final
        assert last.evidence[0].is_safe


async def test_no_traffic_goes_on_and_is_held_at_the_deadline(running: RunningMonitor, eventually: Eventually) -> None:
    api = stub(running)
    await api.CompareVersions(asked(duration=Duration(seconds=600)))

    async def said(word: str) -> Any:
        found = (await api.GetComparison(pb.GetComparisonRequest(name="comparisons/trial"))).comparison
        return found if word in found.reason else None

    waiting = await eventually(lambda: said("no requests of version 2 yet"))
    assert waiting.decision == pb.DECISION_CONTINUE
    running.clock.skip(601)
    held = await eventually(lambda: said("the time is up"))
    assert (held.decision, held.is_final) == (pb.DECISION_HOLD, True)


async def test_a_comparison_that_is_stopped_is_held(running: RunningMonitor) -> None:
    api = stub(running)
    await api.CompareVersions(asked())

    stopped = await api.StopComparison(pb.StopComparisonRequest(name="comparisons/trial", reason="called off"))

    assert (stopped.comparison.decision, stopped.comparison.reason) == (pb.DECISION_HOLD, "stopped: called off")
    again = await api.StopComparison(pb.StopComparisonRequest(name="comparisons/trial", reason="again"))
    assert again.comparison == stopped.comparison
    watch = api.WatchComparison(pb.WatchComparisonRequest(name="comparisons/trial"))
    assert [message.comparison async for message in watch] == [stopped.comparison]


async def test_pairs_are_taken_in_shadow(running: RunningMonitor, eventually: Eventually) -> None:
    api, disagreement = stub(running), pb.Guardrail(signal=pb.Guardrail.SIGNAL_DISAGREEMENT, margin=0.05)
    await api.CompareVersions(asked(mode=pb.COMPARISON_MODE_SHADOW, weight=0.0, guardrails=[disagreement]))

    async def rolled_back() -> Any:
        found = (await api.GetComparison(pb.GetComparisonRequest(name="comparisons/trial"))).comparison
        return found if found.decision == pb.DECISION_ROLL_BACK else None

    for _ in range(10):
        if await rolled_back():
            break
        await api.RecordPairs(pb.RecordPairsRequest(name="comparisons/trial", pair_count=20, differing_count=10))
        await serve(running, 2)

    assert "unlike the baseline's: 50 %" in (await eventually(rolled_back)).reason


async def test_what_can_not_be_asked_is_refused(running: RunningMonitor) -> None:
    api = stub(running)
    await api.CompareVersions(asked())
    refused = {
        grpc.StatusCode.ALREADY_EXISTS: [api.CompareVersions(asked(weight=0.5))],
        grpc.StatusCode.INVALID_ARGUMENT: [
            api.CompareVersions(asked(model="")),
            api.CompareVersions(asked(comparison_id="a b")),
            api.CompareVersions(asked(candidate="1")),
            api.CompareVersions(asked(mode=7)),
            api.CompareVersions(asked(guardrails=[pb.Guardrail(margin=0.1)])),
            api.CompareVersions(asked(guardrails=[pb.Guardrail(signal=2, level=0.99, margin=0.1)])),
            api.RecordPairs(pb.RecordPairsRequest(name="comparisons/trial", pair_count=5, differing_count=6)),
            api.GetComparison(pb.GetComparisonRequest(name="trial")),
            api.ListComparisons(pb.ListComparisonsRequest(page_size=-1)),
            api.StopComparison(pb.StopComparisonRequest(name="comparisons/trial", reason="x" * 501)),
        ],
        grpc.StatusCode.FAILED_PRECONDITION: [
            api.RecordPairs(pb.RecordPairsRequest(name="comparisons/trial", pair_count=5))
        ],
        grpc.StatusCode.NOT_FOUND: [
            api.GetComparison(pb.GetComparisonRequest(name="comparisons/other")),
            api.StopComparison(pb.StopComparisonRequest(name="comparisons/other")),
            api.RecordPairs(pb.RecordPairsRequest(name="comparisons/other", pair_count=5)),
            api.WatchComparison(pb.WatchComparisonRequest(name="comparisons/other")).read(),
        ],
    }
    for code, calls in refused.items():
        for call in calls:
            found, details = await code_of(call)
            assert found is code, details
            assert details


async def test_only_so_many_comparisons_are_under_way_and_they_are_listed_page_by_page(running: RunningMonitor) -> None:
    api = stub(running)
    for number in range(MAX_UNDER_WAY):
        await api.CompareVersions(asked(comparison_id=f"trial-{number}", model=f"model-{number % 2}"))

    code, details = await code_of(api.CompareVersions(asked(comparison_id="one-too-many")))
    assert (code, "stop some" in details) == (grpc.StatusCode.RESOURCE_EXHAUSTED, True)

    names, token = [], ""
    for _ in range(4):
        page = await api.ListComparisons(pb.ListComparisonsRequest(model="model-1", page_size=5, page_token=token))
        assert not any(one.evidence for one in page.comparisons)
        names += [one.name for one in page.comparisons]
        token = page.next_page_token
    assert token == ""
    assert names == [f"comparisons/trial-{number}" for number in reversed(range(1, MAX_UNDER_WAY, 2))]


async def test_the_verdict_is_a_metric(running: RunningMonitor, eventually: Eventually) -> None:
    await stub(running).CompareVersions(asked())
    await serve(running, 8)

    async def shown() -> Any:
        async with httpx.AsyncClient() as client:
            text = (await client.get(f"http://127.0.0.1:{running.metrics_port}/metrics")).text
        return text if "penstock_verdict_evidence_ratio{" in text else ""

    text = await eventually(shown)
    labels = 'baseline="1",candidate="2",decision="continue",model="digits"'
    lines = [line for line in text.splitlines() if line.startswith("penstock_verdict{")]
    assert len(lines) == 4
    assert any('decision="continue"' in line and line.endswith(" 1.0") for line in lines), labels


async def test_how_a_comparison_ended_stays_a_metric_for_a_while(
    running: RunningMonitor, eventually: Eventually
) -> None:
    await stub(running).CompareVersions(asked())
    await serve(running, 20, status=(13,))
    labels = 'baseline="1",candidate="2",decision="roll_back",model="digits"'

    async def shown() -> bool:
        async with httpx.AsyncClient() as client:
            text = (await client.get(f"http://127.0.0.1:{running.metrics_port}/metrics")).text
        return f"penstock_verdict{{{labels}}} 1.0" in text

    async def over() -> Any:
        found = (await stub(running).GetComparison(pb.GetComparisonRequest(name="comparisons/trial"))).comparison
        return found.is_final

    await eventually(over)
    await asyncio.sleep(2)  # it is stored by then
    assert await shown()
    running.clock.skip(601)
    assert not await shown()


@pytest.mark.parametrize("mode", ["COMPARISON_MODE_SPLIT", "COMPARISON_MODE_SHADOW"])
def test_a_step_that_is_not_the_last_needs_no_proof_of_the_tail(mode: str) -> None:
    def proofs(**changes: Any) -> dict[str, Proof]:
        request = asked(**{"mode": mode, "guardrails": [], **changes})
        question = verdict_messages.question_of(request, now_ns=time.time_ns())
        return {one.key: one.proof for one in question.guardrails}

    whole, partial = proofs(), proofs(is_partial=True)
    assert whole["latency.total.p99"] is Proof.ALWAYS
    assert partial == {**whole, "latency.total.p99": Proof.NEVER}
    assert proofs(is_partial=True, guardrails=[ERRORS]) == proofs(guardrails=[ERRORS])


async def test_what_a_rollout_draws_is_checked_by_itself(running: RunningMonitor, eventually: Eventually) -> None:
    begun = (await stub(running).CompareVersions(asked(is_drawn=True))).comparison
    assert begun.is_drawn
    for _ in range(30):
        running.clock.skip(1)
        now_ns = running.clock()
        await running.send(
            *(batch_span(end_ns=now_ns - at * NS // 50, version="2", status=(0,), drawn=1) for at in range(5)),
            *(batch_span(end_ns=now_ns - at * NS // 50, version="1", status=(0,), drawn=1) for at in range(15)),
            *(batch_span(end_ns=now_ns - at * NS // 50, version="2", status=(0,)) for at in range(20)),
        )
        await asyncio.sleep(0.02)

    async def seen() -> Any:
        found = (await stub(running).GetComparison(pb.GetComparisonRequest(name=begun.name))).comparison
        return found if found.split.request_count >= 200 else None

    split = (await eventually(seen)).split
    assert (split.seen_share, split.is_broken) == (pytest.approx(0.25, abs=0.02), False), "of all it is five in eight"


@pytest.mark.parametrize(
    "changed",
    [{"state": "{}"}, {"question": '{"guardrails": []}'}, {"state": '{"progress": {"odd": 1}}'}, {"state": "[]"}],
    ids=["nothing", "another question", "another progress", "a list"],
)
async def test_a_comparison_of_another_release_is_held_and_keeps_no_monitor_from_starting(
    tmp_path: Path, changed: dict[str, str]
) -> None:
    async with monitor(tmp_path) as first:
        await stub(first).CompareVersions(asked())
    with comparison_store(url_of(tmp_path)) as store:
        (record,) = store.under_way()
        store.save(replace(record, **changed))

    async with monitor(tmp_path) as second:
        found = (await stub(second).GetComparison(pb.GetComparisonRequest(name="comparisons/trial"))).comparison
        assert (found.decision, found.is_final) == (pb.DECISION_HOLD, True)
        assert found.reason.endswith("compare anew")
        assert (await stub(second).CompareVersions(asked(comparison_id="anew"))).comparison.candidate == "2"


async def test_of_many_comparisons_one_is_tried_a_second_while_the_database_fails(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with comparison_store(url_of(tmp_path)) as store:
        keeper = VerdictKeeper(store, clock=time.time_ns)
        for number in range(MAX_UNDER_WAY):
            question = verdict_messages.question_of(asked(comparison_id=f"trial-{number}"), now_ns=time.time_ns())
            await keeper.begin(question, "f" * 64)
        rename(url_of(tmp_path), "comparisons", "away")
        for number in range(MAX_UNDER_WAY):
            await keeper.stop(f"trial-{number}", "")
        caplog.clear()

        await keeper.judge()

        assert caplog.text.count("could not save comparison") == 1
        rename(url_of(tmp_path), "away", "comparisons")
        await keeper.finish()
        assert store.under_way() == []
