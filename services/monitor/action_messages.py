"""Actions, policies and retrainings as the messages of ``penstock.monitor.v1``."""

from __future__ import annotations

from penstock.monitor.v1 import action_service_pb2 as pb
from services.common.times import duration, timestamp
from services.monitor.domain.actions import Action
from services.monitor.domain.blocks import NS
from services.monitor.domain.policies import Policy
from services.monitor.domain.retraining import Retraining


def action(value: Action) -> pb.Action:
    message = pb.Action(
        name=f"actions/{value.action_id}",
        kind=f"KIND_{value.kind.name}",
        outcome=f"OUTCOME_{value.outcome.name}",
        policy=value.policy,
        incident=f"incidents/{value.incident_id}",
        model=value.model,
        version=value.version,
        target=value.target,
        reason=value.reason,
        detail=value.detail,
        create_time=timestamp(value.create_ns),
    )
    if value.end_ns is not None:
        message.end_time.CopyFrom(timestamp(value.end_ns))
    return message


def policy(value: Policy) -> pb.Policy:
    return pb.Policy(
        name=value.name,
        action=f"KIND_{value.action.name}",
        mode=f"MODE_{value.mode.name}",
        models=value.models,
        signals=[f"SIGNAL_{one.name}" for one in value.signals],
        causes=[f"CAUSE_{one.name}" for one in value.causes],
        severities=[f"SEVERITY_{one.name}" for one in value.severities],
        min_age_duration=duration(int(value.min_age_s * NS)),
        cool_down_duration=duration(int(value.cool_down_s * NS)),
        max_actions=value.max_actions,
        retraining="" if value.recipe is None else str(value.recipe.runner),
    )


def retraining(value: Retraining, *, is_whole: bool = True) -> pb.Retraining:
    message = pb.Retraining(
        name=value.name,
        model=value.model,
        state=f"STATE_{value.state.name}",
        detail=value.detail,
        policy=value.policy,
        incident=f"incidents/{value.incident_id}",
        runner=value.runner,
        request_json=value.request,
        output_tail=value.output_tail if is_whole else "",
        model_version=value.model_version,
        rollout=value.rollout,
        create_time=timestamp(value.create_ns),
        deadline_time=timestamp(value.deadline_ns),
    )
    if value.heartbeat_ns:
        message.heartbeat_time.CopyFrom(timestamp(value.heartbeat_ns))
    if value.end_ns:
        message.end_time.CopyFrom(timestamp(value.end_ns))
    return message
