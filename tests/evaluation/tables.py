"""What was found as tables, for the terminal and for the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.markup import escape
from rich.table import Table

from services.monitor.domain.phases import Severity
from tests.evaluation import summary
from tests.evaluation.live.outcome import LiveOutcome
from tests.evaluation.run import Outcome
from tests.evaluation.scenarios import FAULTS


@dataclass(frozen=True, slots=True)
class Grid:
    """``texts``: how many columns hold text; figures stand to the right."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: int = 1

    def as_markdown(self) -> str:
        rule = "|".join("---" if place < self.texts else "--:" for place in range(len(self.head)))
        lines = [" | ".join(row) for row in (self.head, *self.rows)]
        return "\n".join([f"| {lines[0]} |", f"|{rule}|", *(f"| {line} |" for line in lines[1:])])

    def as_table(self) -> Table:
        table = Table(title=self.title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for place, name in enumerate(self.head):
            table.add_column(name, justify="left" if place < self.texts else "right")
        for row in self.rows:
            table.add_row(*map(escape, row))
        return table


def grids(outcomes: Sequence[Outcome], live: LiveOutcome | None = None) -> list[Grid]:
    """Those of which there is anything."""
    made = [_goals(outcomes, live), _faults(outcomes), _benign(outcomes), _null(outcomes), _rivals(outcomes)]
    if live is not None:
        made.append(_live(live))
    return [one for one in made if one.rows]


def _goals(outcomes: Sequence[Outcome], live: LiveOutcome | None) -> Grid:
    rows = [(one.aim, one.reached, "yes" if one.is_met else "no") for one in summary.goals(outcomes, live)]
    return Grid("Goals", ("aim", "measured (interval at 95 %)", "reached"), rows, 3)


def _faults(outcomes: Sequence[Outcome]) -> Grid:
    head = (
        "fault", "strength", "runs", "found", "named rightly", "paged", "should page", "s: median", "p95",
        "requests: median", "p95", "judged, mean", "floor", "times it", "traces touched", "incidents",
    )  # fmt: skip
    needs = {one.name: one.only for one in FAULTS}
    pages = {one.name: one.expected.severity is Severity.PAGE for one in FAULTS}
    rows = [
        (
            one.fault if not needs[one.fault] else f"{one.fault} (takes {needs[one.fault]})",
            one.told,
            str(one.runs),
            f"{one.found / one.runs:.0%}",
            share(one.named, one.found),
            share(one.paged, one.found),
            "yes" if pages[one.fault] else "no",
            figure(one.median_s, 1),
            figure(one.p95_s, 1),
            figure(one.requests_median),
            figure(one.requests_p95),
            figure(one.judged_mean),
            figure(one.floor),
            figure(one.ratio, 1),
            share(one.touched_traces, one.traces),
            figure(one.incidents / one.found if one.found else None, 1),
        )
        for one in summary.fault_rows(outcomes)
    ]
    return Grid("Faults", head, rows, 2)


def _benign(outcomes: Sequence[Outcome]) -> Grid:
    rows = [
        (one.scenario, str(one.runs), f"{one.without_page / one.runs:.0%}", str(one.pages), str(one.tickets))
        for one in summary.quiet_rows(outcomes, "benign")
    ]
    return Grid("What is no fault", ("event", "runs", "without a page", "pages", "tickets"), rows)


def _null(outcomes: Sequence[Outcome]) -> Grid:
    def rate(row: summary.QuietRow, events: int) -> str:
        middle, low, high = row.per_million(events)
        return f"{middle:.3g} ({low:.2g}–{high:.2g})"

    rows = [
        (
            one.scenario,
            f"{one.requests:,}",
            f"{one.seconds / 3_600:.1f}",
            str(one.pages),
            rate(one, one.pages),
            str(one.tickets),
            rate(one, one.tickets),
            f"{one.cpu_us:.1f}",
        )
        for one in summary.quiet_rows(outcomes, "null")
    ]
    head = (
        "null traffic", "requests", "hours", "false pages", "in 1e6 requests", "false tickets", "in 1e6 requests",
        "CPU, µs a request",
    )  # fmt: skip
    return Grid("Null runs", head, rows)


def _rivals(outcomes: Sequence[Outcome]) -> Grid:
    rows = [
        (
            one.name,
            share(one.found, one.runs),
            figure(one.median_s, 1),
            "can't" if one.named is None else share(one.named, one.runs),
            share(one.silent, one.quiet_runs),
            str(one.null_alarms),
            f"{1e6 * one.null_alarms / one.null_requests:.3g}" if one.null_requests else "–",
        )
        for one in summary.rival_rows(outcomes)
    ]
    head = (
        "", "medium faults found", "s: median", "and named rightly", "silent where nothing is wrong",
        "false alarms in null runs", "in 1e6 requests",
    )  # fmt: skip
    return Grid("Beside others", head, rows)


def _live(live: LiveOutcome) -> Grid:
    rows = [(one.fault, one.summary or "–", figure(one.after_s, 1), f"{one.within_s:.0f}") for one in live.told]
    text = (
        f"nothing: {live.quiet_s / 60:.0f} minutes, and the models beside; {live.requests:,} requests of all, "
        f"{live.refused:,} refused"
    )
    rows.append((text, f"{live.pages} pages, {live.tickets} tickets", "–", "–"))
    return Grid("In a suite that runs", ("what is done", "what the monitor said", "s", "at most"), rows, 2)


def share(count: int, total: int) -> str:
    return f"{count / total:.0%}" if total else "–"


def figure(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"
