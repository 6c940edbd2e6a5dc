"""Evidence in words, for a tired operator."""

from __future__ import annotations

import math

from services.monitor.domain.summaries import duration_text
from services.monitor.domain.verdict.guardrails import Evidence, Figure, Kind

_NAMES = {
    Kind.ERROR_RATE: "errors",
    Kind.CONFIDENCE: "mean confidence",
    Kind.NONFINITE: "answers that are not finite",
    Kind.ACCURACY: "wrong answers by labels",
    Kind.PAIRED_ERRORS: "errors where both versions had the same input",
    Kind.DISAGREEMENT: "answers unlike the baseline's",
}


def name_of(evidence: Evidence) -> str:
    """What the guardrail is about."""
    guardrail = evidence.guardrail
    if guardrail.kind is Kind.LATENCY:
        phase = "" if guardrail.phase is None else guardrail.phase.label
        return f"p{(guardrail.level or 0) * 100:g} of {phase}"
    if guardrail.kind is Kind.CLASS_MIX:
        return f"answers of {evidence.detail}" if evidence.detail else "mix of classes"
    return _NAMES[guardrail.kind]


def summary_of(evidence: Evidence) -> str:
    """One sentence on one guardrail: the figures, what the change may be, what is allowed."""
    name, allowed = name_of(evidence), evidence.guardrail.margin_text()
    standing = evidence.standing
    if not standing.has_data:
        arms = {"the candidate": standing.candidate_count, "the baseline": standing.baseline_count}
        missing = [arm for arm, count in arms.items() if not count]
        return f"{name}: nothing comparable from {missing[0] if len(missing) == 1 else 'either version'} yet"
    figures = f"{name}: {figure_text(evidence, evidence.candidate)} against {figure_text(evidence, evidence.baseline)}"
    return f"{figures}, {change_text(evidence)} (allowed: {allowed})"


def figure_text(evidence: Evidence, figure: Figure) -> str:
    """A figure in the unit that reads best."""
    return duration_text(figure.value) if evidence.guardrail.kind is Kind.LATENCY else _percent(figure.value)


def change_text(evidence: Evidence) -> str:
    """What the change may be, by the bounds that hold at all times."""
    low, high = evidence.change_low, evidence.change_high
    if evidence.guardrail.kind is Kind.LATENCY:
        if math.isinf(high):
            return "change not known yet" if low <= 0 else f"at least {low:.3g} times as long"
        return f"between {low:.3g} and {high:.3g} times as long" if low > 0 else f"at most {high:.3g} times as long"
    if evidence.guardrail.kind is Kind.DISAGREEMENT:
        return f"between {_percent(low)} and {_percent(high)}"
    return f"between {low * 100:+.3g} and {high * 100:+.3g} percentage points"


def _percent(share: float) -> str:
    return f"{share * 100:.3g} %"
