"""The monitor as rollouts ask it: the one that gets the spans, for no longer than a moment."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import grpc

from penstock.monitor.v1 import monitor_service_pb2 as monitor_pb
from penstock.monitor.v1 import verdict_service_pb2 as verdict_pb
from penstock.monitor.v1.monitor_service_pb2_grpc import MonitorServiceStub
from penstock.monitor.v1.verdict_service_pb2_grpc import VerdictServiceStub
from services.common.discovery.peers import Peers
from services.common.serving import CHANNEL_OPTIONS
from services.common.times import duration, timestamp
from services.registry.adapters import codec
from services.registry.domain.rollout_steps import ProbeOutcome, ReplicaProbe
from services.registry.domain.rollouts import Decision, GuardrailSummary, Rollout, RolloutVerdict

_TIMEOUT_S = 2.0
_AVOID_S = 10.0
"""How long a monitor that failed is the last to be asked, as those that send spans do."""
_SETTLE_NS = 10**9
"""From a step's begin until all gateways have its shares, and what they had begun before is answered."""
_GUARD_NS = 31 * 86_400 * 10**9
"""How long harm is looked for while a person is waited for: as long as the monitor compares at most."""
_MAX_REASON = 500
_PAGE = 1_000
_AWAY = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED})
_OUTCOMES = {
    monitor_pb.ReplicaProbe.OUTCOME_PASS: ProbeOutcome.PASS,
    monitor_pb.ReplicaProbe.OUTCOME_FAIL: ProbeOutcome.FAIL,
    monitor_pb.ReplicaProbe.OUTCOME_ERROR: ProbeOutcome.ERROR,
    monitor_pb.ReplicaProbe.OUTCOME_SKIP: ProbeOutcome.SKIP,
}


class MonitorAwayError(Exception):
    """No monitor answers as it should; the text says why, for people."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a comparison can't be had; ``is_taken``: its name is another one's."""

    reason: str
    is_taken: bool = False


class Monitors:
    """The monitors that are known, of which the first one that answers is asked."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._failed_at: dict[str, float] = {}

    async def close(self) -> None:
        for channel in self._channels.values():
            await channel.close()

    async def list_probes(self, rollout: Rollout) -> tuple[ReplicaProbe, ...]:
        """The last golden probes of the candidate's processes.

        Raises:
            MonitorAwayError: nobody says.
        """
        try:
            return tuple([
                ReplicaProbe(one.replica, _OUTCOMES[one.outcome], one.detail, one.probe_time.ToNanoseconds())
                async for page in self._pages(rollout.model)
                for one in page.probes
                if one.version == rollout.candidate_id and one.outcome in _OUTCOMES
            ])  # fmt: skip
        except grpc.aio.AioRpcError as error:
            raise MonitorAwayError(f"the monitor can't list probes: {_words(error)}") from error

    async def _pages(self, model: str) -> AsyncIterator[monitor_pb.ListProbesResponse]:
        request = monitor_pb.ListProbesRequest(model=model, page_size=_PAGE)
        is_last = False
        while not is_last:
            page = await self._ask(lambda channel: MonitorServiceStub(channel).ListProbes, request)
            yield page
            request.page_token = page.next_page_token
            is_last = not page.next_page_token

    async def compare(self, rollout: Rollout, *, now_ns: int) -> RolloutVerdict | Refusal:
        """How the rollout's present comparison stands; it is begun where there is none.

        Raises:
            MonitorAwayError: nobody says.
        """
        try:
            answer = await self._ask(lambda channel: VerdictServiceStub(channel).CompareVersions, _question(rollout))
        except grpc.aio.AioRpcError as error:
            reason = _words(error)
            if error.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION):
                return Refusal(reason)
            if error.code() is grpc.StatusCode.ALREADY_EXISTS:
                return Refusal(reason, is_taken=True)
            raise MonitorAwayError(f"the monitor can't compare now: {reason}") from error
        return _verdict(answer.comparison, now_ns)

    async def stop(self, comparison: str, *, reason: str) -> None:
        """End a comparison that is of no use any more.

        Raises:
            MonitorAwayError: nobody heard it.
        """
        request = verdict_pb.StopComparisonRequest(name=f"comparisons/{comparison}", reason=reason[:_MAX_REASON])
        try:
            await self._ask(lambda channel: VerdictServiceStub(channel).StopComparison, request)
        except grpc.aio.AioRpcError as error:
            if error.code() not in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION):
                raise MonitorAwayError(_words(error)) from error

    async def _ask(self, rpc_of: Callable[[grpc.aio.Channel], Any], request: Any) -> Any:
        """Ask the first monitor that answers.

        Raises:
            AioRpcError: its answer is an error.
            MonitorAwayError: none answers.
        """
        if not self._peers.addresses:
            raise MonitorAwayError("no monitor is known")
        for address in self._order():
            try:
                answer = await rpc_of(self._channel(address))(request, timeout=_TIMEOUT_S)
            except grpc.aio.AioRpcError as error:
                if error.code() not in _AWAY:
                    raise
                self._failed_at[address] = time.monotonic()
            else:
                self._failed_at.pop(address, None)
                return answer
        raise MonitorAwayError("the monitor does not answer")

    def _order(self) -> list[str]:
        """As spans look for a receiver: by name, those that failed of late last."""
        now = time.monotonic()
        return sorted(
            self._peers.addresses, key=lambda one: (now - self._failed_at.get(one, float("-inf")) < _AVOID_S, one)
        )

    def _channel(self, address: str) -> grpc.aio.Channel:
        if address not in self._channels:
            self._channels[address] = grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
        return self._channels[address]


def _words(error: grpc.aio.AioRpcError) -> str:
    return error.details() or str(error.code().name)


def _question(rollout: Rollout) -> verdict_pb.CompareVersionsRequest:
    """The same message as long as the comparison is the same: the monitor tells questions apart by that."""
    plan, step = rollout.plan, rollout.plan.steps[rollout.step]
    is_shadow = bool(step.shadow_share)
    weight = step.shadow_share if is_shadow else step.candidate_share
    return verdict_pb.CompareVersionsRequest(
        comparison_id=rollout.comparison,
        model=rollout.model,
        candidate=rollout.candidate_id,
        baseline=rollout.baseline_id,
        mode="COMPARISON_MODE_SHADOW" if is_shadow else "COMPARISON_MODE_SPLIT",
        weight=0.0 if plan.sticky_key else weight,  # keys are no dice: some have more requests than others
        start_time=timestamp(rollout.step_start_ns + _SETTLE_NS),
        duration=duration(_GUARD_NS if rollout.is_guard else step.duration_ns),
        min_request_count=step.min_requests,
        min_duration=duration(step.min_duration_ns),
        alpha=plan.alpha / len(plan.steps),
        guardrails=codec.guardrails_to_pb(plan),
        is_drawn=True,
        is_partial=rollout.step + 1 < len(plan.steps),
    )


def _verdict(comparison: verdict_pb.Comparison, now_ns: int) -> RolloutVerdict:
    known = comparison.decision in Decision._value2member_map_
    return RolloutVerdict(
        decision=Decision(comparison.decision) if known else Decision.CONTINUE,
        reason=comparison.reason,
        is_final=comparison.is_final,
        guardrails=tuple(
            GuardrailSummary(one.key, one.summary, one.is_harmed, one.is_safe, one.is_blocking)
            for one in comparison.evidence
        ),
        candidate_requests=comparison.candidate_request_count,
        baseline_requests=comparison.baseline_request_count,
        verdict_time_ns=now_ns,
    )
