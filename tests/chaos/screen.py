"""What is shown while faults are tried, and of what came of them."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from tests.chaos.fault import Fault
from tests.chaos.journal import Journal
from tests.chaos.page import errors_of, seconds
from tests.chaos.repetition import Repetition
from tests.chaos.run import Order
from tests.chaos.stage import Stage
from tests.chaos.summary import Summary


class Screen:
    """A bar for all repetitions, and a line for each that is done."""

    def __init__(self, console: Console, order: Order, journal: Journal) -> None:
        wanted = len(order.faults) * order.repetitions
        done = sum(min(order.repetitions, len(journal.of(fault.name))) for fault in order.faults)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task("", total=wanted, completed=done)

    def stage_opens(self, stage: type[Stage]) -> None:
        self._bar.console.print(f"[bold]{stage.title}[/]", highlight=False)
        self._bar.update(self._task, description="starting")

    def begins(self, fault: type[Fault], number: int) -> None:
        self._bar.update(self._task, description=f"{fault.name} {number}")

    def ended(self, one: Repetition) -> None:
        self._bar.advance(self._task)
        self._bar.console.print(_line(one), highlight=False, soft_wrap=True)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()


def _line(one: Repetition) -> str:
    what = f"{one.fault} {one.number}"
    if one.skipped:
        return f"  [dim]–[/] {what}: {escape(one.skipped)}"
    mark = "[red]✗[/]" if one.is_bad else "[green]✓[/]"
    told = f"{one.right} of {one.sent} right, back after {seconds(one.recovery_s)} s, whole after {one.healed_s:.1f} s"
    bad = {"wrong": one.wrong, "doubled": one.duplicates, "lost": one.lost, **one.unexpected}
    more = "".join(f"; {count} {name}" for name, count in bad.items() if count)
    why = f"; {one.failure}" if one.failure else ""
    return f"  {mark} {what}: {told}{escape(more)}{escape(why)}"


def results_table(summaries: Sequence[Summary]) -> Table:
    """A row for each fault that was tried."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("")
    table.add_column("fault", no_wrap=True)
    for name in ("times", "sent", "right", "wrong", "lost", "doubled"):
        table.add_column(name, justify="right")
    table.add_column("errors")
    for name in ("back s, p50", "p95", "target", "p99 ms", "max ms"):
        table.add_column(name, justify="right")
    for one in summaries:
        if not one.repetitions:
            continue
        figures = (len(one.repetitions), one.sent, one.right, one.wrong, one.lost, one.duplicates)
        mark = "[red]✗[/]" if one.is_bad else "[yellow]late[/]" if one.is_late else "[green]✓[/]"
        target = one.fault.recovers_within_s
        table.add_row(
            mark,
            one.fault.name,
            *(f"{figure:,}" for figure in figures),
            errors_of(one),
            seconds(one.recovery(0.5)),
            seconds(one.recovery(0.95)),
            "" if target is None else f"{target:g}",
            f"{one.p99_ms:,.0f}",
            f"{one.max_ms:,.0f}",
        )
    return table


def faults_table(summaries: Sequence[Summary]) -> Table:
    """What can be broken, and how often it was."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("fault", "stage", "what breaks", "what clients may see", "times"):
        table.add_column(name, justify="right" if name == "times" else "left")
    for one in summaries:
        fault = one.fault
        table.add_row(fault.name, fault.stage, fault.breaks, fault.promise, str(len(one.repetitions)))
    return table
