"""Rollouts, and what of them callers ask for."""

from __future__ import annotations

from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration

from penstock.monitor.v1 import verdict_service_pb2 as monitor_pb
from penstock.registry.v1 import rollout_service_pb2 as pb
from services.common.times import duration
from services.registry.adapters.codec.times import nanoseconds, timestamp
from services.registry.domain import ids
from services.registry.domain.rollout_plans import WantedPlan, WantedStep, complete
from services.registry.domain.rollouts import Rollout, RolloutPlan, RolloutState, RolloutStep, RolloutVerdict


def rollout_to_pb(rollout: Rollout, *, with_events: bool = True) -> pb.Rollout:
    return pb.Rollout(
        name=rollout.name,
        candidate=rollout.candidate,
        baseline=rollout.baseline,
        plan=_plan_to_pb(rollout.plan),
        state=int(rollout.state),  # type: ignore[arg-type]
        state_reason=rollout.state_reason,
        step=rollout.step,
        step_start_time=timestamp(rollout.step_start_ns),
        comparison=f"comparisons/{rollout.comparison}" if rollout.comparison else "",
        verdict=None if rollout.verdict is None else _verdict_to_pb(rollout.verdict),
        events=[
            pb.RolloutEvent(
                event_time=timestamp(one.event_time_ns),
                state=int(one.state),  # type: ignore[arg-type]
                step=one.step,
                actor=one.actor,
                reason=one.reason,
            )
            for one in (rollout.events if with_events else ())
        ],
        create_time=timestamp(rollout.create_time_ns),
        update_time=timestamp(rollout.update_time_ns),
        end_time=timestamp(rollout.end_time_ns),
        retire_time=timestamp(rollout.retire_time_ns),
        creator=rollout.creator,
        reason=rollout.reason,
        etag=rollout.etag,
    )


def created_rollout(body: bytes) -> Rollout:
    """A rollout as it was created."""
    message = pb.Rollout.FromString(body)
    model, number = ids.parse_rollout(message.name)
    return Rollout(
        model=model,
        number=number,
        candidate=message.candidate,
        baseline=message.baseline,
        plan=complete(wanted_plan_from_pb(message.plan)),
        state=RolloutState(message.state),
        state_reason=message.state_reason,
        create_time_ns=nanoseconds(message.create_time),
        update_time_ns=nanoseconds(message.update_time),
        creator=message.creator,
        reason=message.reason,
        etag=message.etag,
    )


def wanted_plan_from_pb(message: pb.RolloutPlan) -> WantedPlan:
    return WantedPlan(
        strategy=message.strategy,
        steps=tuple(
            WantedStep(
                candidate_share=one.candidate_share,
                shadow_share=one.shadow_share,
                min_requests=one.min_request_count,
                min_duration_ns=_span(one, "min_duration"),
                duration_ns=_span(one, "duration"),
            )
            for one in message.steps
        ),
        sticky_key=message.sticky_key,
        alias=message.alias,
        is_manual=message.is_manual,
        load_duration_ns=_span(message, "load_duration"),
        keep_warm_ns=_span(message, "keep_warm_duration"),
        guardrails=tuple(
            json_format.MessageToDict(one, preserving_proto_field_name=True) for one in message.guardrails
        ),
        alpha=message.alpha,
        pair_tolerance=message.pair_tolerance,
    )


def guardrails_to_pb(plan: RolloutPlan) -> list[monitor_pb.Guardrail]:
    return [json_format.ParseDict(dict(one), monitor_pb.Guardrail()) for one in plan.guardrails]


def _span(message: pb.RolloutPlan | pb.RolloutStep, field: str) -> int | None:
    if not message.HasField(field):
        return None
    span: Duration = getattr(message, field)
    return nanoseconds(span)


def _plan_to_pb(plan: RolloutPlan) -> pb.RolloutPlan:
    return pb.RolloutPlan(
        strategy=int(plan.strategy),  # type: ignore[arg-type]
        steps=map(_step_to_pb, plan.steps),
        sticky_key=plan.sticky_key,
        alias=plan.alias,
        is_manual=plan.is_manual,
        load_duration=duration(plan.load_duration_ns),
        keep_warm_duration=duration(plan.keep_warm_ns),
        guardrails=guardrails_to_pb(plan),
        alpha=plan.alpha,
        pair_tolerance=plan.pair_tolerance,
    )


def _step_to_pb(step: RolloutStep) -> pb.RolloutStep:
    return pb.RolloutStep(
        candidate_share=step.candidate_share,
        shadow_share=step.shadow_share,
        min_request_count=step.min_requests,
        min_duration=duration(step.min_duration_ns),
        duration=duration(step.duration_ns),
    )


def _verdict_to_pb(verdict: RolloutVerdict) -> pb.RolloutVerdict:
    return pb.RolloutVerdict(
        decision=int(verdict.decision),  # type: ignore[arg-type]
        reason=verdict.reason,
        guardrails=[
            pb.GuardrailSummary(
                key=one.key,
                summary=one.summary,
                is_harmed=one.is_harmed,
                is_safe=one.is_safe,
                is_blocking=one.is_blocking,
            )
            for one in verdict.guardrails
        ],
        candidate_request_count=verdict.candidate_requests,
        baseline_request_count=verdict.baseline_requests,
        verdict_time=timestamp(verdict.verdict_time_ns),
    )
