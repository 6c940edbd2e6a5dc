"""Turns requests into questions, and comparisons into the messages of ``penstock.monitor.v1``."""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

from penstock.monitor.v1 import monitor_service_pb2 as monitor_pb
from penstock.monitor.v1 import verdict_service_pb2 as pb
from services.common import names
from services.common.errors import InvalidArgumentError
from services.common.times import duration, timestamp
from services.monitor.domain.blocks import NS
from services.monitor.domain.phases import Phase
from services.monitor.domain.verdict import guardrails as domain
from services.monitor.domain.verdict.comparison import Comparison
from services.monitor.domain.verdict.guardrails import Evidence, Figure, Guardrail, Kind, Proof
from services.monitor.domain.verdict.question import Mode, Question
from services.monitor.domain.verdict.split import Split
from services.monitor.domain.verdict.words import summary_of

_DEFAULT_DURATION_NS = 3_600 * NS
_DEFAULT_REQUESTS = 500
_DEFAULT_LEAST_NS = 60 * NS
_DEFAULT_ALPHA = 0.01


def _by_name(enum: Any, prefix: str, kinds: Any) -> dict[int, Any]:
    return {enum.Value(f"{prefix}_{kind.name}"): kind for kind in kinds}


_KINDS: dict[int, Kind] = _by_name(pb.Guardrail.Signal, "SIGNAL", Kind)
_PROOFS: dict[int, Proof] = {0: Proof.ALWAYS, **_by_name(pb.Guardrail.Proof, "PROOF", Proof)}
_MODES: dict[int, Mode] = {0: Mode.SPLIT, **_by_name(pb.ComparisonMode, "COMPARISON_MODE", Mode)}
_PHASES: dict[int, Phase] = _by_name(monitor_pb.Phase, "PHASE", Phase)


def question_of(request: pb.CompareVersionsRequest, *, now_ns: int) -> Question:
    """What is asked, with defaults filled in.

    Raises:
        InvalidArgumentError: it can't be asked.
    """
    mode = _known(_MODES, request.mode, "mode", pb.ComparisonMode.keys())
    begin_ns = request.start_time.ToNanoseconds() if request.HasField("start_time") else now_ns
    at_most_ns = request.duration.ToNanoseconds() if request.HasField("duration") else _DEFAULT_DURATION_NS
    least_ns = request.min_duration.ToNanoseconds() if request.HasField("min_duration") else _DEFAULT_LEAST_NS
    defaults = domain.defaults(is_shadow=mode is Mode.SHADOW, is_partial=request.is_partial)
    question = Question(
        comparison_id=names.model_id(request.comparison_id or secrets.token_hex(10)),
        model=names.model_id(request.model),
        candidate=names.model_id(request.candidate),
        baseline=names.model_id(request.baseline),
        mode=mode,
        weight=request.weight,
        start_ns=begin_ns,
        deadline_ns=begin_ns + at_most_ns,
        min_requests=request.min_request_count or _DEFAULT_REQUESTS,
        min_seconds=-(-least_ns // NS),
        alpha=request.alpha or _DEFAULT_ALPHA,
        guardrails=tuple(map(_guardrail_of, request.guardrails)) or defaults,
        is_drawn=request.is_drawn,
    )
    if flaw := question.flaw():
        raise InvalidArgumentError(flaw)
    return question


def fingerprint_of(request: pb.CompareVersionsRequest) -> str:
    """Tells questions from each other: the same request asks the same."""
    return hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()


def _guardrail_of(message: pb.Guardrail) -> Guardrail:
    kind = _known(_KINDS, message.signal, "signal of a guardrail", pb.Guardrail.Signal.keys())
    is_latency = kind is Kind.LATENCY
    return Guardrail(
        kind=kind,
        margin=message.margin,
        margin_ns=float(message.margin_duration.ToNanoseconds()),
        tolerance=message.tolerance.value if message.HasField("tolerance") else None,
        phase=_known(_PHASES, message.phase, "phase of a guardrail", monitor_pb.Phase.keys()) if is_latency else None,
        level=message.level if is_latency else None,
        proof=_known(_PROOFS, message.proof, "proof of a guardrail", pb.Guardrail.Proof.keys()),
    )


def _known(values: dict[int, Any], number: int, what: str, expected: Any) -> Any:
    if number not in values:
        raise InvalidArgumentError(f"got {what} {number}, expected one of {', '.join(list(expected)[1:])}")
    return values[number]


def comparison(value: Comparison) -> pb.Comparison:
    question, progress, ruling = value.question, value.progress, value.ruling
    return pb.Comparison(
        name=f"comparisons/{question.comparison_id}",
        model=question.model,
        candidate=question.candidate,
        baseline=question.baseline,
        mode=f"COMPARISON_MODE_{question.mode.name}",
        weight=question.weight,
        is_drawn=question.is_drawn,
        start_time=timestamp(question.start_ns),
        deadline_time=timestamp(question.deadline_ns),
        min_request_count=question.min_requests,
        min_duration=duration(question.min_seconds * NS),
        alpha=question.alpha,
        decision=f"DECISION_{ruling.decision.name}",
        reason=ruling.reason,
        is_final=ruling.is_final,
        evidence=map(_evidence, value.evidence()),
        split=_split(value.split),
        candidate_request_count=progress.candidate.requests,
        baseline_request_count=progress.baseline.requests,
        observed_duration=duration(progress.seconds * NS),
        uncompared_duration=duration(progress.lonely_seconds * NS),
        unseen_duration=duration(progress.unseen_seconds * NS),
        restart_count=progress.restarts,
        late_count=progress.late_samples,
    )


def _evidence(value: Evidence) -> pb.GuardrailEvidence:
    standing, guardrail = value.standing, value.guardrail
    scale = 1e-9 if guardrail.kind is Kind.LATENCY else 1.0
    message = pb.GuardrailEvidence(
        guardrail=_guardrail(guardrail),
        key=guardrail.key,
        summary=summary_of(value),
        candidate_count=standing.candidate_count,
        baseline_count=standing.baseline_count,
        candidate=_figure(value.candidate, scale),
        baseline=_figure(value.baseline, scale),
        change_low=value.change_low,
        change_high=value.change_high,
        harm_log_evalue=standing.harm_log_evalue,
        harm_log_evalue_needed=standing.harm_needed,
        safety_log_evalue=standing.safety_log_evalue,
        safety_log_evalue_needed=standing.safety_needed,
        is_harmed=standing.is_harmed,
        is_safe=standing.is_safe,
        is_blocking=standing.blocks,
    )
    if value.p_values:
        message.fixed_horizon.mann_whitney_p, message.fixed_horizon.kolmogorov_smirnov_p = value.p_values
    return message


def _guardrail(value: Guardrail) -> pb.Guardrail:
    message = pb.Guardrail(
        signal=f"SIGNAL_{value.kind.name}",
        phase="PHASE_UNSPECIFIED" if value.phase is None else f"PHASE_{value.phase.name}",
        level=value.level or 0.0,
        margin=value.margin,
        proof=f"PROOF_{value.proof.name}",
    )
    if value.margin_ns:
        message.margin_duration.CopyFrom(duration(int(value.margin_ns)))
    if value.kind is not Kind.LATENCY:
        message.tolerance.value = value.harm_from
    return message


def _figure(value: Figure, scale: float) -> pb.EstimatedFigure:
    return pb.EstimatedFigure(value=value.value * scale, low=value.low * scale, high=value.high * scale)


def _split(value: Split) -> pb.SplitEvidence:
    return pb.SplitEvidence(
        is_checked=value.share is not None,
        expected_share=value.share or 0.0,
        seen_share=value.seen,
        request_count=value.total,
        log_evalue=value.log_evalue,
        is_broken=value.is_broken,
    )
