"""How comparisons of versions look on a screen."""

from __future__ import annotations

import math
from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.markup import escape

from penstock.cli.output import duration
from penstock.cli.tables import Rows
from penstock.cli.words import bar, enum_words, phase_words
from penstock.monitor.v1.verdict_service_pb2 import (
    DECISION_CONTINUE,
    DECISION_HOLD,
    DECISION_PROMOTE,
    DECISION_ROLL_BACK,
    Comparison,
    Decision,
    EstimatedFigure,
    Guardrail,
    GuardrailEvidence,
)

_COLOURS = {
    DECISION_PROMOTE: "bold green",
    DECISION_CONTINUE: "bold yellow",
    DECISION_HOLD: "bold magenta",
    DECISION_ROLL_BACK: "bold red",
}


def table(comparisons: Iterable[Comparison]) -> Rows:
    """Comparisons, a line for each."""
    rows = Rows("COMPARISON", "MODEL", ">CANDIDATE", ">BASELINE", "VERDICT", "UNTIL (UTC)", "~WHY")
    for one in comparisons:
        rows.add_row(
            escape(one.name.removeprefix("comparisons/")),
            escape(one.model),
            escape(one.candidate),
            escape(one.baseline),
            decision_words(one.decision),
            "over" if one.is_final else one.deadline_time.ToDatetime().strftime("%Y-%m-%d %H:%M:%S"),
            escape(one.reason),
        )
    return rows


def view(comparison: Comparison) -> RenderableType:
    """All that is known of a comparison: what to do and why, then the evidence."""
    lines: list[RenderableType] = [
        f"{decision_words(comparison.decision)}  {escape(comparison.reason)}",
        "",
        _evidence(comparison),
        "",
        f"[dim]{escape(_traffic(comparison))}[/]",
        f"[dim]{escape(_split(comparison))}[/]",
    ]
    if tests := _fixed_horizon(comparison):
        lines.append(f"[dim]{escape(tests)}[/]")
    return Group(*lines)


def decision_words(decision: Decision) -> str:
    """A decision in its colour."""
    return f"[{_COLOURS.get(decision, 'bold')}]{enum_words(Decision.Name(decision), 'DECISION_')}[/]"


def _evidence(comparison: Comparison) -> Rows:
    rows = Rows("GUARDRAIL", ">CANDIDATE", ">BASELINE", "~CHANGE", "ALLOWED", "HARM", "SAFE")
    for one in comparison.evidence:
        is_seen = one.candidate_count and one.baseline_count
        rows.add_row(
            escape(_name(one.guardrail)),
            _figure(one, one.candidate) if one.candidate_count else "–",
            _figure(one, one.baseline) if one.baseline_count else "–",
            _change(one) if is_seen else "",
            _allowed(one.guardrail),
            bar(_share(one.harm_log_evalue, one.harm_log_evalue_needed), "red"),
            bar(_share(one.safety_log_evalue, one.safety_log_evalue_needed), "green"),
        )
    return rows


def _name(guardrail: Guardrail) -> str:
    if guardrail.signal == Guardrail.SIGNAL_LATENCY:
        return f"p{guardrail.level * 100:g} {phase_words(guardrail.phase)}"
    return enum_words(Guardrail.Signal.Name(guardrail.signal), "SIGNAL_")


def _is_latency(one: GuardrailEvidence) -> bool:
    return bool(one.guardrail.signal == Guardrail.SIGNAL_LATENCY)


def _figure(one: GuardrailEvidence, figure: EstimatedFigure) -> str:
    return duration(figure.value) if _is_latency(one) else f"{figure.value:.2%}"


def _change(one: GuardrailEvidence) -> str:
    low, high = one.change_low, one.change_high
    if _is_latency(one):
        most = "?" if math.isinf(high) else f"{high - 1:+.0%}"
        return f"{'?' if low <= 0 else f'{low - 1:+.0%}'} … {most}"
    return f"{low * 100:+.2f} … {high * 100:+.2f} pp"


def _allowed(guardrail: Guardrail) -> str:
    if guardrail.signal != Guardrail.SIGNAL_LATENCY:
        return f"{guardrail.margin * 100:g} pp"
    more = guardrail.margin_duration.ToNanoseconds() / 1e6
    return f"{guardrail.margin:.0%}" + (f" or {more:g} ms" if more else "")


def _share(evidence: float, needed: float) -> float:
    """How much of the evidence that decides is there."""
    return evidence / needed if needed > 0 else 0.0


def _traffic(comparison: Comparison) -> str:
    counts = f"{comparison.candidate_request_count} requests of version {comparison.candidate}, "
    counts += f"{comparison.baseline_request_count} of version {comparison.baseline}, "
    counts += f"in {comparison.observed_duration.seconds} s with traffic"
    if comparison.restart_count:
        counts += (
            f"; {comparison.unseen_duration.seconds} s unseen in {comparison.restart_count} restarts of the monitor"
        )
    until = comparison.deadline_time.ToDatetime().strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"{counts}; until {until}, {comparison.name}"


def _split(comparison: Comparison) -> str:
    split = comparison.split
    if not split.is_checked:
        return "split: not checked, as no weight is configured"
    if not split.request_count:
        return f"split: nothing counted yet, expected {split.expected_share:.1%}"
    word = "BROKEN" if split.is_broken else "as it should be"
    return f"split: {split.seen_share:.1%} of the requests, expected {split.expected_share:.1%}: {word}"


def _fixed_horizon(comparison: Comparison) -> str:
    tests = [
        f"{_name(one.guardrail)} {one.fixed_horizon.mann_whitney_p:.2g} / {one.fixed_horizon.kolmogorov_smirnov_p:.2g}"
        for one in comparison.evidence
        if one.HasField("fixed_horizon") and one.candidate_count and one.baseline_count
    ]
    found = ", ".join(tests)
    return f"for one look only, deciding nothing (p of Mann-Whitney / Kolmogorov-Smirnov): {found}" if tests else ""
