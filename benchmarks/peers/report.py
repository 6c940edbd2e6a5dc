"""What the comparison found: a table for each workload, what each server was told, and plots."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import plot
from benchmarks.measurement import Figures, median_of
from benchmarks.report import HERE, Section, Table, number, ratio
from benchmarks.workloads import Workload

OURS, NOT_OPTIMISED = "Penstock", "Penstock, --optimize=off"
SECTIONS = ("peers",)


@dataclass(frozen=True, slots=True)
class Start:
    """One start of a server: until every model answers (s), and its memory then (MB, PSS)."""

    ready_s: float
    memory_mb: float


@dataclass(slots=True)
class Standing:
    """What one server did: rounds by workload and clients, its starts, and why it was left out, if it was."""

    title: str
    version: str
    how: str
    rounds: dict[tuple[str, int], list[Figures]]
    starts: list[Start]
    failure: str = ""

    def median(self, workload: str, concurrency: int) -> Figures | None:
        found = self.rounds.get((workload, concurrency))
        return median_of(found) if found else None


def section_of(standings: Sequence[Standing], workloads: Mapping[str, Workload], *, folder: Path = HERE) -> Section:
    """Tables and plots of everything that was measured; plots are written to ``folder``."""
    content: list[str | Table] = [_overview(standings)]
    for key, workload in workloads.items():
        measured = [one for one in standings if any(name == key for name, _ in one.rounds)]
        if measured:
            content += [f"### {workload.title}", _table(key, workload, measured)]
    failures = [f"- {one.title}: {one.failure}" for one in standings if one.failure]
    if failures:
        content += ["Not measured, or not to the end:\n\n" + "\n".join(failures)]
    content += _plots(standings, workloads, folder)
    raw = [
        {**{name: getattr(one, name) for name in ("title", "version", "how", "failure")}}
        | {"starts": [asdict(start) for start in one.starts]}
        | {"rounds": {f"{key} {count}": [asdict(r) for r in rounds] for (key, count), rounds in one.rounds.items()}}
        for one in standings
    ]
    return Section("Penstock beside other servers", content, raw)


def _overview(standings: Sequence[Standing]) -> Table:
    rows = []
    for one in standings:
        ready = f"{statistics.median(start.ready_s for start in one.starts):.1f}" if one.starts else ""
        memory = number(statistics.median(start.memory_mb for start in one.starts)) if one.starts else ""
        rows.append([one.title, one.version, one.how, ready, memory])
    return Table(["<server", "<version", "<as it was run", "ready s", "MB"], rows)


def _table(key: str, workload: Workload, standings: Sequence[Standing]) -> Table:
    """Rates with Penstock's multiple of each, latency at the least and the most clients, CPU at the most."""
    counts = workload.concurrencies
    ours = next((one for one in standings if one.title == OURS), None)
    headings = ["<server"]
    for count in counts:
        headings += [f"req/s, {count} client{'s' * (count > 1)}", "Penstock ÷ it"]
    headings += [f"p50 ms, {counts[0]}", f"p99 ms, {counts[-1]}", f"CPU µs, {counts[-1]}"]
    rows = []
    for one in standings:
        row = [one.title]
        for count in counts:
            theirs, mine = one.median(key, count), ours.median(key, count) if ours else None
            row += [number(theirs.rate) if theirs else "–"]
            row += [ratio(mine.rate, theirs.rate) if theirs and mine and one is not ours else ""]
        least, most = one.median(key, counts[0]), one.median(key, counts[-1])
        row += [f"{least.p50_ms:.2f}" if least else "–"]
        row += [f"{most.p99_ms:.2f}" if most else "–", number(most.server_cpu_us) if most else "–"]
        rows.append(row)
    return Table(headings, rows)


def _plots(standings: Sequence[Standing], workloads: Mapping[str, Workload], folder: Path) -> list[str]:
    """Throughput by clients for each workload, and ratios to Triton's where Triton was measured."""
    charts, ratios = [], []
    triton = next((one for one in standings if one.title == "Triton"), None)
    for key, workload in workloads.items():
        groups = [str(count) for count in workload.concurrencies]
        series = {
            one.title: [(found.rate if (found := one.median(key, count)) else 0.0) for count in workload.concurrencies]
            for one in standings
            if any(name == key for name, _ in one.rounds)
        }
        charts.append(plot.Chart(f"{workload.title}: requests/s by clients", groups, series))
        if triton is not None and (most := triton.median(key, workload.concurrencies[-1])):
            for title, rates in series.items():
                ratios.append((key, title, rates[-1] / most.rate))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "throughput.svg").write_text(plot.svg_of(charts))
    content = ["![Requests per second by clients](throughput.svg)"]
    if ratios:
        keys = list(dict.fromkeys(key for key, _, _ in ratios))
        titles = dict.fromkeys(title for _, title, _ in ratios)
        found = {(key, title): value for key, title, value in ratios}
        series = {title: [found.get((key, title), 0.0) for key in keys] for title in titles}
        chart = plot.Chart("Requests/s at the most clients, as multiples of Triton's", keys, series, line_at=1.0)
        (folder / "ratios.svg").write_text(plot.svg_of([chart]))
        content.append("![Ratios to Triton](ratios.svg)")
    return content
