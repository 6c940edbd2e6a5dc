"""Records of a suite, from what its registry knows."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Collection, Iterator

from google.protobuf.timestamp_pb2 import Timestamp

from penstock import errors
from penstock.channels import Channel
from penstock.monitor.v1.verdict_service_pb2 import Decision
from penstock.records.record import Figure, Record
from penstock.registry.v1 import registry_service_pb2 as pb
from penstock.registry.v1 import rollout_service_pb2 as rollout_pb
from penstock.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from penstock.registry.v1.resources_pb2 import ModelVersion
from penstock.registry.v1.rollout_service_pb2 import Rollout
from penstock.registry.v1.rollout_service_pb2_grpc import RolloutServiceStub

_JUDGED = (ModelVersion.STATE_READY, ModelVersion.STATE_REJECTED, ModelVersion.STATE_ARCHIVED)
_ENDED = (Rollout.STATE_PROMOTED, Rollout.STATE_ROLLED_BACK, Rollout.STATE_FAILED)


def collect(channel: Channel, models: Collection[str] = ()) -> Iterator[Record]:
    """Of the versions that are judged, and of the rollouts that have ended, of some models or of all; oldest first."""
    registry = RegistryServiceStub(channel.grpc)
    for model in models or ["-"]:
        request = pb.ListModelVersionsRequest(parent=f"models/{model}")
        versions = channel.pages(registry.ListModelVersions, request, "model_versions")
        yield from (of_version(one) for one in reversed(versions) if one.state in _JUDGED)
    for model in models or ["-"]:
        yield from (of_rollout(one) for one in reversed(_rollouts(channel, model)) if one.state in _ENDED)


def _rollouts(channel: Channel, model: str) -> list[Rollout]:
    """With their events."""
    stub = RolloutServiceStub(channel.grpc)
    request = rollout_pb.ListRolloutsRequest(parent=f"deployments/{model}")
    with contextlib.suppress(errors.NotFoundError, errors.UnimplementedError):
        names = [one.name for one in channel.pages(stub.ListRollouts, request, "rollouts")]
        return [channel.call(stub.GetRollout, rollout_pb.GetRolloutRequest(name=name)).rollout for name in names]
    return []


def of_version(version: ModelVersion) -> Record:
    """Figures that the author knows, and those that validation measured."""
    _, model, _, number = version.name.split("/")
    report, at = version.validation_report, _ms(version.update_time)
    figures = [Figure(f"evaluation/{name}", value, 0, at) for name, value in sorted(version.metrics.items())]
    measured = {"load_seconds": report.load_duration, "infer_seconds": report.infer_duration}
    figures += [
        Figure(f"validation/{name}", span.ToNanoseconds() / 1e9, 0, at)
        for name, span in measured.items()
        if span.ToNanoseconds()
    ]
    for one in report.batches:
        figures.append(Figure("validation/batch_seconds", one.duration.ToNanoseconds() / 1e9, one.rows, at))
    state = ModelVersion.State.Name(version.state).removeprefix("STATE_")
    lineage = version.lineage
    tags = {"penstock.state": state, "penstock.digest": version.digest, "penstock.source": lineage.source}
    tags |= {f"penstock.{name}": value for name, value in sorted(lineage.facts.items())}
    why = f": {version.state_reason}" if version.state_reason else ""
    lines = [f"**{version.name}** is {state}{why}", "", f"From {lineage.origin or 'people'} {lineage.revision}".strip()]
    lines += [f"- {parent}" for parent in lineage.parents]
    return Record(
        resource=version.name,
        model=model,
        title=f"{model} version {number}",
        is_good=version.state != ModelVersion.STATE_REJECTED,
        start_ms=_ms(version.create_time),
        end_ms=at,
        parameters={"model": model, "version": number, "format": version.format},
        tags={name: value for name, value in tags.items() if value},
        figures=_finite(figures),
        text="\n".join(lines),
    )


def of_rollout(rollout: Rollout) -> Record:
    """Its steps as they came, what the monitor said last, and why it ended."""
    _, model, _, number = rollout.name.split("/")
    state = Rollout.State.Name(rollout.state).removeprefix("STATE_")
    candidate, baseline = (name.rpartition("/")[2] for name in (rollout.candidate, rollout.baseline))
    figures = [figure for event in rollout.events for figure in _of_event(rollout, event)]
    figures += _of_verdict(rollout)
    lines = [f"**{rollout.name}**: version {candidate} against {baseline}: {state}", "", rollout.state_reason, ""]
    lines += [f"- {one.event_time.ToJsonString()} {one.actor}: {one.reason}" for one in rollout.events]
    lines += ["", *(f"- `{one.key}`: {one.summary}" for one in rollout.verdict.guardrails)]
    strategy = rollout_pb.RolloutPlan.Strategy.Name(rollout.plan.strategy).removeprefix("STRATEGY_")
    return Record(
        resource=rollout.name,
        model=model,
        title=f"{model} rollout {number}",
        is_good=rollout.state == Rollout.STATE_PROMOTED,
        start_ms=_ms(rollout.create_time),
        end_ms=_ms(rollout.end_time),
        parameters={"model": model, "candidate": candidate, "baseline": baseline, "strategy": strategy},
        tags={"penstock.state": state, "penstock.reason": rollout.state_reason, "penstock.creator": rollout.creator},
        figures=_finite(figures),
        text="\n".join(lines),
    )


def _of_event(rollout: Rollout, event: rollout_pb.RolloutEvent) -> Iterator[Figure]:
    """The candidate's shares from then on."""
    at, steps = _ms(event.event_time), rollout.plan.steps
    is_trial = event.state in (Rollout.STATE_RUNNING, Rollout.STATE_HELD)
    step = steps[event.step] if is_trial and event.step < len(steps) else None
    whole = float(event.state == Rollout.STATE_PROMOTED)
    yield Figure("rollout/candidate_share", step.candidate_share if step else whole, event.step, at)
    yield Figure("rollout/shadow_share", step.shadow_share if step else 0.0, event.step, at)


def _of_verdict(rollout: Rollout) -> Iterator[Figure]:
    at, step = _ms(rollout.end_time), rollout.step
    yield Figure("rollout/is_promoted", float(rollout.state == Rollout.STATE_PROMOTED), step, at)
    yield Figure("rollout/seconds", (at - _ms(rollout.create_time)) / 1e3, step, at)
    if not rollout.HasField("verdict"):
        return
    verdict = rollout.verdict
    yield Figure("verdict/candidate_requests", verdict.candidate_request_count, step, at)
    yield Figure("verdict/baseline_requests", verdict.baseline_request_count, step, at)
    yield Figure("verdict/is_promote", float(verdict.decision == Decision.DECISION_PROMOTE), step, at)
    for one in verdict.guardrails:
        yield Figure(f"guardrail/{one.key}/is_harmed", float(one.is_harmed), step, at)
        yield Figure(f"guardrail/{one.key}/is_safe", float(one.is_safe), step, at)


def _finite(figures: list[Figure]) -> list[Figure]:
    return [one for one in figures if math.isfinite(one.value)]


def _ms(when: Timestamp) -> int:
    return when.ToMilliseconds()
