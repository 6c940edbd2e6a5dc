"""``penstock verdict``."""

from __future__ import annotations

import math
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape

from penstock.cli import options
from penstock.cli.output import Json, duration, print_json, reporting, screen
from penstock.cli.tables import Rows
from penstock.client import Client
from penstock.monitor.v1.monitor_service_pb2 import Phase
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
_STATUSES = {DECISION_PROMOTE: 0, DECISION_ROLL_BACK: 2, DECISION_HOLD: 3}
_BAR = 8


def register(app: typer.Typer) -> None:
    app.command("verdict", epilog="Example: penstock verdict digits 2 1 --weight 0.1 --wait")(verdict)


@reporting
def verdict(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.")],
    candidate: Annotated[str, typer.Argument(metavar="CANDIDATE", help="The version on trial.")],
    baseline: Annotated[str, typer.Argument(metavar="BASELINE", help="The version that it is compared with.")],
    weight: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="The candidate's share of the requests (in shadow: what is copied). 0: not configured."
        ),
    ] = 0.0,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="The candidate gets copies of the baseline's requests.")
    ] = False,
    at_most: Annotated[float, typer.Option("--for", min=1, help="Seconds until a person must decide.")] = 3_600.0,
    requests: Annotated[int, typer.Option(min=1, help="Requests of the candidate before a promotion.")] = 500,
    seconds: Annotated[float, typer.Option(min=0, help="Seconds with traffic before a promotion.")] = 60.0,
    alpha: Annotated[float, typer.Option(min=1e-6, max=0.1, help="Risk of a wrong verdict, either way.")] = 0.01,
    new: Annotated[bool, typer.Option("--new", help="Begin anew, even if these versions are being compared.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Follow it until it says what to do. Exit status 2: roll back, 3: hold.")
    ] = False,
    monitor: options.Monitor = None,
    json: Json = False,
) -> None:
    """Say whether a version may replace another, by what both do on live traffic.

    Shows the comparison of these versions that is under way, or begins one. What it says holds whenever one looks: the
    risk of a false verdict is spent once, not with every look.
    """
    with Client(monitor=monitor) as client:
        found = None if new else _under_way(client, model, candidate, baseline)
        if found is None:
            found = client.verdicts.compare(
                model,
                candidate,
                baseline,
                weight=weight,
                is_shadow=shadow,
                duration_s=at_most,
                min_requests=requests,
                min_duration_s=seconds,
                alpha=alpha,
            )
        if wait:
            found = _follow(client, found, is_shown=not json)
        elif not json:
            screen.print(view(found))
    if json:
        print_json(found)
    if wait and (status := _STATUSES.get(found.decision, 1)):
        raise typer.Exit(status)


def _under_way(client: Client, model: str, candidate: str, baseline: str) -> Comparison | None:
    for one in client.verdicts.list(model=model):
        if (one.candidate, one.baseline, one.is_final) == (candidate, baseline, False):
            return client.verdicts.get(one.name)
    return None


def _follow(client: Client, found: Comparison, *, is_shown: bool) -> Comparison:
    """Show every change until there is a decision."""
    live = Live(view(found), console=screen, auto_refresh=False) if is_shown and screen.is_terminal else None
    if live is not None:
        live.start()
    try:
        for seen in client.verdicts.watch(found.name):
            found = seen
            if live is not None:
                live.update(view(found), refresh=True)
            if found.decision != DECISION_CONTINUE:
                break
    finally:
        if live is not None:
            live.stop()
    if is_shown and live is None:
        screen.print(view(found))
    return found


def view(comparison: Comparison) -> RenderableType:
    """A comparison on a screen: what to do and why, then the evidence."""
    word = Decision.Name(comparison.decision).removeprefix("DECISION_").replace("_", " ").lower()
    lines: list[RenderableType] = [
        f"[{_COLOURS.get(comparison.decision, 'bold')}]{word}[/]  {escape(comparison.reason)}",
        "",
        _table(comparison),
        "",
        f"[dim]{escape(_traffic(comparison))}[/]",
        f"[dim]{escape(_split(comparison))}[/]",
    ]
    if tests := _fixed_horizon(comparison):
        lines.append(f"[dim]{escape(tests)}[/]")
    return Group(*lines)


def _table(comparison: Comparison) -> Rows:
    rows = Rows("GUARDRAIL", ">CANDIDATE", ">BASELINE", "~CHANGE", "ALLOWED", "HARM", "SAFE")
    for one in comparison.evidence:
        is_seen = one.candidate_count and one.baseline_count
        rows.add_row(
            escape(_name(one.guardrail)),
            _figure(one, one.candidate) if one.candidate_count else "–",
            _figure(one, one.baseline) if one.baseline_count else "–",
            _change(one) if is_seen else "",
            _allowed(one.guardrail),
            _bar(one.harm_log_evalue, one.harm_log_evalue_needed, "red"),
            _bar(one.safety_log_evalue, one.safety_log_evalue_needed, "green"),
        )
    return rows


def _name(guardrail: Guardrail) -> str:
    signal = Guardrail.Signal.Name(guardrail.signal).removeprefix("SIGNAL_").lower().replace("_", " ")
    if guardrail.signal != Guardrail.SIGNAL_LATENCY:
        return signal
    phase = Phase.Name(guardrail.phase).removeprefix("PHASE_").lower()
    return f"p{guardrail.level * 100:g} {phase}"


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


def _bar(evidence: float, needed: float, colour: str) -> str:
    """How much of the evidence that decides is there."""
    share = min(1.0, max(0.0, evidence / needed)) if needed > 0 else 0.0
    full = int(share * _BAR)
    return f"[{colour}]{'█' * full}[/][dim]{'·' * (_BAR - full)}[/]"


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
