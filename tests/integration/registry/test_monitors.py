"""The registry's questions, put to a real monitor."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from penstock.monitor.v1 import verdict_service_pb2 as verdict_pb
from penstock.monitor.v1.verdict_service_pb2_grpc import VerdictServiceStub
from services.common.discovery.peers import Peers
from services.registry.adapters.monitor import MonitorAwayError, Monitors, Refusal
from services.registry.domain import rollout_moves
from services.registry.domain.rollout_plans import WantedPlan, complete
from services.registry.domain.rollouts import REGISTRY, Decision, Rollout, RolloutVerdict, Strategy
from tests.support.monitor_process import monitor
from tests.support.ports import free_port


def running(**plan: object) -> Rollout:
    """A rollout at its first step, which began just now."""
    fresh = Rollout(
        model="digits",
        number=1,
        candidate="models/digits/versions/2",
        baseline="models/digits/versions/1",
        plan=complete(WantedPlan(**plan)),  # type: ignore[arg-type]
    )
    return rollout_moves.enter_step(fresh, 0, now_ns=time.time_ns(), actor=REGISTRY, why="loaded")


@pytest.mark.parametrize("strategy", [Strategy.CANARY, Strategy.SHADOW])
async def test_a_comparison_is_begun_asked_for_again_and_ended(tmp_path: Path, strategy: Strategy) -> None:
    rollout = running(strategy=strategy)
    async with monitor(tmp_path) as real:
        monitors = Monitors(Peers.at(f"127.0.0.1:{real.ports.api}"))
        for _ in range(2):
            verdict = await monitors.compare(rollout, now_ns=7)
            assert isinstance(verdict, RolloutVerdict), verdict
            assert (verdict.decision, verdict.is_final, verdict.verdict_time_ns) == (Decision.CONTINUE, False, 7)
            assert verdict.guardrails

        other = await monitors.compare(replace(rollout, baseline="models/digits/versions/3"), now_ns=7)
        assert isinstance(other, Refusal)
        assert other.is_taken
        guard = await monitors.compare(rollout_moves.guard(rollout), now_ns=7)
        assert isinstance(guard, RolloutVerdict), guard

        await monitors.stop(rollout.comparison, reason="x" * 2_000)
        await monitors.stop("never-begun", reason="no matter")
        stub = VerdictServiceStub(real.api_channel)
        request = verdict_pb.GetComparisonRequest(name=f"comparisons/{rollout.comparison}")
        assert (await stub.GetComparison(request)).comparison.is_final
        assert await monitors.list_probes(rollout) == ()
        await monitors.close()


async def test_a_question_that_can_not_be_asked_is_refused_with_the_monitors_words(tmp_path: Path) -> None:
    rollout = running(guardrails=({"signal": "SIGNAL_ERROR_RATE", "margin": 7.0},))
    async with monitor(tmp_path) as real:
        monitors = Monitors(Peers.at(f"127.0.0.1:{real.ports.api}"))

        answer = await monitors.compare(rollout, now_ns=7)

        assert isinstance(answer, Refusal)
        assert "7" in answer.reason
        assert not answer.is_taken
        await monitors.close()


async def test_nobody_answers() -> None:
    monitors = Monitors(Peers.at(f"127.0.0.1:{free_port()},127.0.0.1:{free_port()}"))
    rollout = running()
    began = time.monotonic()

    for question in (monitors.compare(rollout, now_ns=7), monitors.list_probes(rollout), monitors.stop("c", reason="")):
        with pytest.raises(MonitorAwayError, match="does not answer"):
            await question

    assert time.monotonic() - began < 13
    await monitors.close()
