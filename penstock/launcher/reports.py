"""What the launcher says while it works: to a person at a terminal, or to a program as JSON lines."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable
from typing import TextIO, cast

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.table import Table

from penstock.launcher.logfiles import LogLine
from penstock.launcher.parts import Part
from penstock.launcher.plan import Plan


class LastingOutput:
    """Standard output that may go away: the suite must still be stopped in order when its terminal was closed."""

    def __init__(self) -> None:
        self._stdout = sys.stdout  # rich replaces it for a while

    def write(self, text: str) -> int:
        try:
            self._stdout.write(text)
            self._stdout.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stdout.fileno())
            os.close(nowhere)
        return len(text)

    def flush(self) -> None:
        """Everything is written at once."""

    def isatty(self) -> bool:
        return self._stdout.isatty()

    def fileno(self) -> int:
        return self._stdout.fileno()

    @property
    def encoding(self) -> str:
        return self._stdout.encoding


class TerminalReporter:
    """A table that fills while parts start, then one line per event; where there is no terminal, lines only."""

    def __init__(self) -> None:
        self._console = Console(file=cast("TextIO", LastingOutput()), highlight=False)
        self._live: Live | None = None
        self._parts: dict[str, tuple[Part, float | None]] = {}

    def starting(self, part: Part) -> None:
        self._parts.setdefault(part.name, (part, None))
        if self._live is None and self._console.is_terminal and not self._is_complete:
            self._live = Live(console=self._console, get_renderable=self._table, refresh_per_second=10, transient=True)
            self._live.start()

    @property
    def _is_complete(self) -> bool:
        return all(after is not None for _, after in self._parts.values())

    def _table(self) -> Table:
        made = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        for part, after in self._parts.values():
            done = Spinner("dots", style="yellow") if after is None else "[green]✓[/]"
            made.add_row(done, part.name, "starting" if after is None else f"ready in {after:.1f} s")
        return made

    def ready(self, part: Part, *, after_s: float, is_restart: bool, processes: int) -> None:
        more = f", with {processes} processes" if processes > 1 else ""
        if is_restart:
            self._line(f"[green]✓[/] {part.name} is ready again, after {after_s:.1f} s{more}")
        else:
            self._parts[part.name] = (part, after_s)
            self._line(f"[green]✓[/] {part.name:<10} ready in {after_s:.1f} s{more}")

    def died(self, part: Part, *, how: str, said: str, restart_in_s: float) -> None:
        when = "now" if restart_in_s == 0 else f"in {restart_in_s:.1f} s"
        self._line(f"[red]✗[/] {part.name} died ({how}{': ' + escape(said) if said else ''}); starting it again {when}")

    def warned(self, line: LogLine) -> None:
        colour = "yellow" if line.level == "warning" else "red"
        now = time.strftime("%H:%M:%S")
        self._line(f"[dim]{now}[/] [{colour}]{line.level:<7}[/] {line.service}: {escape(line.message)}")

    def all_ready(self, plan: Plan, *, after_s: float) -> None:
        self._end_live()
        at, scheme = plan.endpoints, "https" if plan.has_tls else "http"
        rows = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 2))
        for what, where in (
            ("gRPC (Open Inference Protocol)", at.gateway),
            ("REST", f"{scheme}://{at.gateway_http}/v2"),
            ("metrics (Prometheus)", f"http://{at.gateway_metrics}/metrics"),
            ("registry, gRPC", at.registry),
            ("monitor, gRPC", at.monitor),
            ("logs", str(plan.logs)),
        ):
            rows.add_row(what, f"[bold]{escape(where)}[/]")
        self._line(f"\n[bold green]Penstock is up[/], after {after_s:.1f} s. Ctrl-C stops it.\n")
        self._console.print(rows)
        self._console.print()

    def main_job_ended(self, status: int) -> None:
        if status == 0:
            self._line("\nThe suite stays up; Ctrl-C stops it.")
        else:
            self._line(
                f"[red]✗[/] the program that was to run ended with {status}; the suite stays up, Ctrl-C stops it"
            )

    def restarting(self, part: Part) -> None:
        self._line(f"[yellow]↻[/] {part.name} is restarted, as asked")

    def restarted(self, part: Part, *, after_s: float) -> None:
        self._line(f"[green]✓[/] {part.name} restarted in {after_s:.1f} s")

    def not_restarted(self, part: Part, *, why: str) -> None:
        self._line(f"[red]✗[/] {part.name} was not restarted: {escape(why)}")

    def stopping(self) -> None:
        self._end_live()
        self._line("\nStopping; requests under way are finished first (Ctrl-C again stops at once).")

    def stopped(self, part: Part, *, after_s: float, was_killed: bool) -> None:
        how = "[red]killed[/]" if was_killed else "stopped"
        self._line(f"  {part.name:<10} {how} after {after_s:.1f} s")

    def all_stopped(self, *, after_s: float) -> None:
        self._line(f"Everything has stopped, in {after_s:.1f} s.")

    def _line(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)

    def _end_live(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


class JsonReporter:
    """One JSON object per event, in a line."""

    def __init__(self, write: Callable[[str], object] | None = None) -> None:
        """``write`` takes the lines; they go to standard output where there is none."""
        self._write = write or LastingOutput().write

    def starting(self, part: Part) -> None:
        self._event("starting", part=part.name)

    def ready(self, part: Part, *, after_s: float, is_restart: bool, processes: int) -> None:
        self._event(
            "ready",
            part=part.name,
            address=part.address,
            after_s=after_s,
            is_restart=is_restart,
            processes=processes,
        )

    def died(self, part: Part, *, how: str, said: str, restart_in_s: float) -> None:
        self._event("died", part=part.name, how=how, said=said, restart_in_s=restart_in_s)

    def warned(self, line: LogLine) -> None:
        self._event("warned", part=line.service, level=line.level, message=line.message)

    def all_ready(self, plan: Plan, *, after_s: float) -> None:
        self._event("all_ready", endpoints=dataclasses.asdict(plan.endpoints), logs=str(plan.logs), after_s=after_s)

    def main_job_ended(self, status: int) -> None:
        self._event("main_job_ended", status=status)

    def restarting(self, part: Part) -> None:
        self._event("restarting", part=part.name)

    def restarted(self, part: Part, *, after_s: float) -> None:
        self._event("restarted", part=part.name, after_s=after_s)

    def not_restarted(self, part: Part, *, why: str) -> None:
        self._event("not_restarted", part=part.name, why=why)

    def stopping(self) -> None:
        self._event("stopping")

    def stopped(self, part: Part, *, after_s: float, was_killed: bool) -> None:
        self._event("stopped", part=part.name, after_s=after_s, was_killed=was_killed)

    def all_stopped(self, *, after_s: float) -> None:
        self._event("all_stopped", after_s=after_s)

    def _event(self, name: str, **fields: object) -> None:
        self._write(json.dumps({"event": name, **fields}) + "\n")
