"""Recording and alerting rules of one model's service-level objective."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from penstock.export.burn_rates import Burn, burns, named
from penstock.registry.v1.resources_pb2 import Slo

Rule = dict[str, Any]

MIN_FAILED = 5
"""A single failure on a quiet day is no fire: so many must have failed in the long window."""
RATIO = "model:penstock_slo_errors:ratio_rate"
FAILED = "model:penstock_slo_errors:increase"
REQUESTS = "model:penstock_slo_requests:increase"
TARGET = "model:penstock_slo:target"
BUDGET = "model:penstock_slo_budget:remaining_ratio"


@dataclass(frozen=True, slots=True)
class Objective:
    """One promise. ``bad`` and ``total`` are selectors of counters, ``target`` a share."""

    name: str
    target: float
    bad: str
    total: str
    promise: str


def group(model: str, slo: Slo) -> dict[str, Any]:
    """A model's group of rules; it has none without a promise."""
    rules = [rule for objective in objectives(model, slo) for rule in _rules(model, objective, slo.window_days)]
    return {"name": f"penstock-slo-{model}", "interval": "1m", "rules": rules}


def objectives(model: str, slo: Slo) -> Iterator[Objective]:
    if slo.availability:
        yield Objective(
            "availability",
            slo.availability,
            bad=f'penstock_requests_total{{model="{model}",outcome="server_error"}}',
            total=f'penstock_requests_total{{model="{model}",outcome!="client_error"}}',
            promise=f"{_share(slo.availability)} of its requests don't fail",
        )
    if slo.latency_seconds:
        threshold = f"{slo.latency_seconds:.10g}"
        yield Objective(
            "latency",
            slo.latency_share,
            bad=f'penstock_slo_slow_requests_total{{model="{model}",threshold="{threshold}"}}',
            total=f'penstock_phase_duration_seconds_count{{model="{model}",phase="total"}}',
            promise=f"{_share(slo.latency_share)} of its requests take at most {threshold} s",
        )


def _rules(model: str, objective: Objective, window_days: int) -> Iterator[Rule]:
    labels = {"model": model, "objective": objective.name}
    chosen = burns(window_days)
    for seconds in sorted({window for burn in chosen for window in (burn.long_s, burn.short_s)}):
        window = named(seconds)
        yield {"record": f"{RATIO}{window}", "expr": _ratio(objective, window), "labels": labels}
    for burn in chosen:
        window = named(burn.long_s)
        expr = f"sum(increase({objective.bad}[{window}]))"
        yield {"record": f"{FAILED}{window}", "expr": expr, "labels": labels}
    window = named(chosen[0].long_s)
    yield {"record": f"{REQUESTS}{window}", "expr": f"sum(increase({objective.total}[{window}]))", "labels": labels}
    yield {"record": TARGET, "expr": f"vector({_number(objective.target)})", "labels": labels}
    yield {"record": BUDGET, "expr": _budget(model, objective, window, window_days), "labels": labels}
    for burn in chosen:
        if burn.rate * (1 - objective.target) < 1:  # more than all can't fail
            yield _alert(model, objective, burn, window_days)


def _ratio(objective: Objective, window: str) -> str:
    return f"sum(rate({objective.bad}[{window}]))\n/\n(sum(rate({objective.total}[{window}])) > 0)"


def _budget(model: str, objective: Objective, window: str, window_days: int) -> str:
    """By requests, not by time: both sums count each of them in as many windows."""
    failed, requests = (
        f"sum_over_time({name}{window}{_selector(model, objective)}[{window_days}d])" for name in (FAILED, REQUESTS)
    )
    return f"1 - {failed}\n/\n({requests} > 0)\n/ {_number(1 - objective.target)}"


def _alert(model: str, objective: Objective, burn: Burn, window_days: int) -> Rule:
    selector = _selector(model, objective)
    limit = _number(burn.rate * (1 - objective.target))
    long, short = named(burn.long_s), named(burn.short_s)
    gone = window_days / burn.rate
    return {
        "alert": "PenstockErrorBudgetBurn",
        "expr": (
            f"{RATIO}{long}{selector} > {limit}\n"
            f"and {RATIO}{short}{selector} > {limit}\n"
            f"and {FAILED}{long}{selector} >= {MIN_FAILED}"
        ),
        "labels": {"severity": burn.severity, "window": long},
        "annotations": {
            "summary": f"{model} breaks its promise: {objective.promise}",
            "description": (
                f"{{{{ $value | humanizePercentage }}}} of the requests of the last {long} broke it, more than "
                f"{burn.rate:g} times what its budget over {window_days} days allows: so it would be used up after "
                f"{gone:.3g} days."
            ),
        },
    }


def _selector(model: str, objective: Objective) -> str:
    return f'{{model="{model}",objective="{objective.name}"}}'


def _share(share: float) -> str:
    return f"{_number(100 * share)} %"


def _number(value: float) -> str:
    return f"{value:.10g}"
