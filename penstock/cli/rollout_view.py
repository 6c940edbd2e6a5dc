"""How rollouts look on a screen."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Group, RenderableType
from rich.markup import escape

from penstock.cli.comparisons import decision_words
from penstock.cli.output import time
from penstock.cli.tables import Rows
from penstock.cli.words import bar, enum_words
from penstock.registry.v1.rollout_service_pb2 import (
    GuardrailSummary,
    Rollout,
    RolloutEvent,
    RolloutStep,
)
from penstock.rollouts import ENDS, Strategy

_COLOURS = {
    Rollout.STATE_PROMOTED: "bold green",
    Rollout.STATE_HELD: "bold magenta",
    Rollout.STATE_ROLLED_BACK: "bold red",
    Rollout.STATE_FAILED: "bold red",
}
_EVENTS = 8
"""Of the last ones that are shown."""


def table(rollouts: Iterable[Rollout]) -> Rows:
    """Rollouts, a line for each."""
    rows = Rows("ROLLOUT", ">CANDIDATE", ">BASELINE", "HOW", "STATE", ">STEP", "BEGUN (UTC)", "ENDED", "~WHY")
    for one in rollouts:
        rows.add_row(
            escape(handle(one)),
            escape(_number(one.candidate)),
            escape(_number(one.baseline)),
            Strategy.of(one.plan),
            state(one.state),
            f"{one.step + 1}/{len(one.plan.steps)}" if one.plan.steps else "–",
            one.create_time.ToDatetime().strftime("%Y-%m-%d %H:%M:%S"),
            one.end_time.ToDatetime().strftime("%H:%M:%S") if one.HasField("end_time") else "",
            escape(one.state_reason),
        )
    return rows


def line(rollout: Rollout) -> str:
    """Where a rollout stands, in one line."""
    versions = f"version {_number(rollout.candidate)} for {_number(rollout.baseline)}"
    what = f"[bold]{escape(handle(rollout))}[/] {escape(versions)}, {Strategy.of(rollout.plan)}"
    return f"{what}: {state(rollout.state)}{_place(rollout)}: {escape(rollout.state_reason)}"


def event_line(event: RolloutEvent) -> str:
    """Something that happened, in one line."""
    when = event.event_time.ToDatetime().strftime("%H:%M:%S")
    where = f"[dim]step {event.step + 1}, {escape(event.actor)}:[/]"
    return f"[dim]{when}[/] {state(event.state)} {where} {escape(event.reason)}"


def view(rollout: Rollout, *, now: float) -> RenderableType:
    """All that is known of a rollout: where it stands and why, its steps, the evidence, what happened.

    ``now``: seconds since 1970.
    """
    candidate, baseline = _number(rollout.candidate), _number(rollout.baseline)
    title = f"[bold]{escape(_model(rollout))}[/] version {escape(candidate)} for {escape(baseline)}"
    lines: list[RenderableType] = [
        f"{title}, {Strategy.of(rollout.plan)}{_conditions(rollout)}",
        f"{state(rollout.state)}  {escape(rollout.state_reason)}",
        "",
        _steps(rollout),
        *_progress(rollout, now),
    ]
    if rollout.HasField("verdict"):
        verdict = rollout.verdict
        lines += ["", f"verdict: {decision_words(verdict.decision)}  {escape(verdict.reason)}"]
        if verdict.guardrails:
            lines += ["", _guardrails(verdict.guardrails)]
    if rollout.events:
        lines += ["", *map(event_line, rollout.events[-_EVENTS:])]
    lines += ["", *(f"[dim]{escape(one)}[/]" for one in _footer(rollout))]
    return Group(*lines)


def state(value: Rollout.State) -> str:
    """A state in its colour."""
    return f"[{_COLOURS.get(value, 'bold yellow')}]{enum_words(Rollout.State.Name(value), 'STATE_')}[/]"


def handle(rollout: Rollout) -> str:
    """How people call a rollout: "digits/3"."""
    return f"{_model(rollout)}/{rollout.name.rpartition('/')[2]}"


def share(step: RolloutStep) -> float:
    """What a step gives the candidate, of the requests or of copies."""
    return step.shadow_share or step.candidate_share


def _model(rollout: Rollout) -> str:
    return rollout.name.split("/")[1]


def _number(version: str) -> str:
    return version.rpartition("/")[2]


def _percent(value: float) -> str:
    return f"{value * 100:.4g} %"


def _place(rollout: Rollout) -> str:
    """At which step a rollout is, where it is at one."""
    steps = rollout.plan.steps
    if rollout.state in ENDS or rollout.state == Rollout.STATE_LOADING or rollout.step >= len(steps):
        return ""
    return f" at step {rollout.step + 1} of {len(steps)}, {_percent(share(steps[rollout.step]))}"


def _conditions(rollout: Rollout) -> str:
    plan = rollout.plan
    said = [
        f"same {plan.sticky_key}, same version" if plan.sticky_key else "",
        f"alias {plan.alias}" if plan.alias else "",
        "each step waits for a person" if plan.is_manual else "",
    ]
    return escape("".join(f", {one}" for one in said if one))


def _steps(rollout: Rollout) -> str:
    """The steps beside each other: those that are done, the present one, those to come, and the promotion."""
    is_on = rollout.state in (Rollout.STATE_RUNNING, Rollout.STATE_HELD)
    is_begun = rollout.state != Rollout.STATE_LOADING
    is_promoted = rollout.state == Rollout.STATE_PROMOTED
    marks = [_mark(is_done=rollout.HasField("step_start_time") or is_promoted, is_present=not is_begun)]
    names = ["load"]
    for number, step in enumerate(rollout.plan.steps):
        is_done = is_promoted or (is_begun and number < rollout.step)
        marks.append(_mark(is_done=is_done, is_present=is_on and number == rollout.step))
        names.append(_percent(share(step)) + (" copied" if step.shadow_share else ""))
    marks.append(_mark(is_done=is_promoted, is_present=False))
    return "  ".join(f"{mark} {name}" for mark, name in zip(marks, [*names, "all"], strict=True))


def _mark(*, is_done: bool, is_present: bool) -> str:
    if is_present:
        return "[bold yellow]▶[/]"
    return "[green]✓[/]" if is_done else "[dim]·[/]"


def _progress(rollout: Rollout, now: float) -> list[str]:
    """How far the present step is: requests and seconds, of those that it needs."""
    if rollout.state not in (Rollout.STATE_RUNNING, Rollout.STATE_HELD) or rollout.step >= len(rollout.plan.steps):
        return []
    step, verdict = rollout.plan.steps[rollout.step], rollout.verdict
    seen, least = verdict.candidate_request_count, step.min_request_count
    took = max(0.0, now - _seconds(rollout.step_start_time)) if rollout.HasField("step_start_time") else 0.0
    least_s, most_s = (one.ToNanoseconds() / 1e9 for one in (step.min_duration, step.duration))
    requests = f"{seen} requests of version {_number(rollout.candidate)}, at least {least}"
    others = f"{verdict.baseline_request_count} of version {_number(rollout.baseline)}"
    return [
        f"{bar(seen / least if least else 1.0, 'green')} {escape(f'{requests}; {others}')}",
        f"{bar(took / least_s if least_s else 1.0, 'green')} {took:.0f} s, at least {least_s:g}, at most {most_s:g}",
    ]


def _guardrails(found: Iterable[GuardrailSummary]) -> Rows:
    rows = Rows("GUARDRAIL", "STANDS", "~WHAT IS KNOWN")
    for one in found:
        rows.add_row(escape(one.key), _standing(one), escape(one.summary))
    return rows


def _standing(one: GuardrailSummary) -> str:
    if one.is_harmed:
        return "[bold red]worse[/]"
    if one.is_safe:
        return "[green]safe[/]"
    return "[yellow]unproven[/]" if one.is_blocking else "[dim]not needed[/]"


def _footer(rollout: Rollout) -> list[str]:
    creator = f" by {rollout.creator}" if rollout.creator else ""
    why = f": {rollout.reason}" if rollout.reason else ""
    lines = [f"{rollout.name}, begun {time(rollout.create_time)}{creator}{why}; etag {rollout.etag}"]
    if rollout.state == Rollout.STATE_PROMOTED and rollout.HasField("retire_time"):
        lines.append(f"version {_number(rollout.baseline)} is kept loaded until {time(rollout.retire_time)}")
    return lines


def _seconds(when: Timestamp) -> float:
    return when.ToNanoseconds() / 1e9
