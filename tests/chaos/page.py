"""docs/reliability.md: the part between two marks is rendered from a journal, the rest is written by people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.chaos.journal import Journal
from tests.chaos.stages import STAGES
from tests.chaos.summary import Summary
from tests.chaos.timeline import svg_of

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
_HEAD = (
    "what breaks", "for, s", "what clients may see of it", "times", "sent", "right", "wrong", "lost", "doubled",
    "errors", "back after, s: median", "p95", "target", "longest answer, s",
)  # fmt: skip


def write(journal: Journal, summaries: Sequence[Summary], path: Path = PAGE) -> None:
    """Replace what was measured in the page, and the picture beside it."""
    before, _, rest = path.read_text().partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"{path} has no marks {BEGIN} and {END}")
    path.with_suffix(".svg").write_text(svg_of(summaries))
    path.write_text(f"{before}{BEGIN}\n\n{measured(journal, summaries)}\n\n{END}{after}")


def measured(journal: Journal, summaries: Sequence[Summary]) -> str:
    """The rendered part as Markdown."""
    tried = [one for one in summaries if one.repetitions]
    skipped = [one for one in summaries if not one.repetitions and one.skipped]
    parts = [_circumstances(journal), _outcome(tried)]
    for stage in STAGES.values():
        if here := [one for one in tried if one.fault.stage == stage.name]:
            parts += [f"### {stage.title}", _table(here)]
    if skipped:
        parts += ["Not tried: " + "; ".join(f"{one.fault.breaks} ({one.skipped})" for one in skipped) + "."]
    parts += ["![Answers in each tenth of a second around a fault](reliability.svg)"]
    return "\n\n".join(parts)


def _circumstances(journal: Journal) -> str:
    dates = sorted({one.at[:10] for one in journal.repetitions})
    versions = sorted({one.version for one in journal.repetitions})
    machines = sorted({one["machine"] for one in journal.sittings})
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    return (
        f"Made by `make chaos` on {when} at commit {', '.join(versions)}. {'; and '.join(machines)}. Clients, proxies "
        "and services share the machine."
    )


def _outcome(tried: Sequence[Summary]) -> str:
    sent, lost, wrong = (sum(getattr(one, name) for one in tried) for name in ("sent", "lost", "wrong"))
    repetitions = sum(len(one.repetitions) for one in tried)
    doubled = sum(one.duplicates for one in tried)
    bad = [one.fault.breaks for one in tried if one.is_bad]
    text = (
        f"{sent:,} requests in {repetitions:,} repetitions of {len(tried)} faults: {lost} lost, {wrong} answered "
        f"wrongly, {doubled} answered twice."
    )
    return f"{text} Not as promised: {'; '.join(bad)}." if bad else text


def _table(summaries: Sequence[Summary]) -> str:
    rule = ("---", "--:", "---", *["--:"] * 6, "---", *["--:"] * 4)
    rows = [_HEAD, rule, *(_cells(one) for one in summaries)]
    return "\n".join(f"| {' | '.join(row)} |" if row is not rule else f"|{'|'.join(row)}|" for row in rows)


def _cells(one: Summary) -> tuple[str, ...]:
    fault = one.fault
    return (
        fault.breaks,
        f"{fault.lasts_s:g}" if fault.lasts_s else "",
        fault.promise,
        str(len(one.repetitions)),
        f"{one.sent:,}",
        f"{one.right:,}",
        str(one.wrong),
        str(one.lost),
        str(one.duplicates),
        errors_of(one),
        seconds(one.recovery(0.5)),
        seconds(one.recovery(0.95)),
        "" if fault.recovers_within_s is None else f"{fault.recovers_within_s:g}",
        f"{one.max_ms / 1e3:.1f}",
    )


def errors_of(one: Summary) -> str:
    """Errors by status, for a cell."""
    text = ", ".join(f"{count} {status}" for status, count in sorted(one.errors.items()))
    return f"{text} (unexpected: {one.unexpected.total()})" if one.unexpected else text


def seconds(figure: float | None) -> str:
    """A figure, or a dash where there is none; below a tenth it is nothing."""
    return "–" if figure is None else f"{figure:.1f}"
