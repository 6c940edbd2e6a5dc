"""docs/detection.md: the part between two marks is rendered from outcomes, the rest is written by people."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.plot import Chart, svg_of
from tests.evaluation import summary
from tests.evaluation.live.outcome import LiveOutcome
from tests.evaluation.run import Outcome
from tests.evaluation.scenarios import Strength
from tests.evaluation.tables import grids

PAGE = Path(__file__).resolve().parents[2] / "docs" / "detection.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def write(outcomes: Sequence[Outcome], live: LiveOutcome | None = None, *, command: str, path: Path = PAGE) -> None:
    """Replace what was measured in the page, and the picture beside it."""
    before, _, rest = path.read_text().partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"{path} has no marks {BEGIN} and {END}")
    text = measured(outcomes, live, command=command)  # first: it names the commit, as it is before anything is written
    path.with_suffix(".svg").write_text(picture(outcomes))
    path.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def measured(outcomes: Sequence[Outcome], live: LiveOutcome | None = None, *, command: str) -> str:
    """The rendered part as Markdown."""
    seeds = sorted({one.job.seed for one in outcomes})
    requests, today = sum(one.requests for one in outcomes), datetime.now(UTC).date()
    made_by = f"Made by `{command}` on {today} at commit {_commit()} with Python {platform.python_version()}"
    parts = [f"{made_by}: {len(outcomes):,} runs, seeds {seeds[0]} to {seeds[-1]}, {requests:,} requests."]
    for grid in grids(outcomes, live):
        parts += [f"### {grid.title}", grid.as_markdown()]
        if grid.title == "Faults":
            parts += ["![Delay beside the floor](detection.svg)"]
    return "\n\n".join(parts)


def picture(outcomes: Sequence[Outcome]) -> str:
    """Delay in requests beside the floor where there is one, and in seconds for all."""
    rows = [one for one in summary.fault_rows(outcomes) if one.is_counted and one.median_s is not None]
    floored = [one for one in rows if one.floor is not None]
    charts = []
    for fault in dict.fromkeys(one.fault for one in floored):
        these = [one for one in floored if one.fault == fault]
        heights = {
            "floor": [one.floor or 0.0 for one in these],
            "requests judged, mean": [one.judged_mean or 0.0 for one in these],
        }
        charts.append(Chart(f"Requests until it is known: {fault}", [one.told for one in these], heights))
    names = list(dict.fromkeys(one.fault for one in rows))
    delays = {(one.fault, one.strength): one.median_s or 0.0 for one in rows}
    charts += [
        Chart(
            "Seconds until somebody is told, median (none: not found)",
            part,
            {one.value: [delays.get((name, one.value), 0.0) for name in part] for one in Strength},
        )
        for part in (names[:6], names[6:])
    ]
    return svg_of([one for one in charts if one.groups])


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    return (
        subprocess.run(command, cwd=PAGE.parent, capture_output=True, text=True, check=False).stdout.strip()
        or "unknown"
    )
