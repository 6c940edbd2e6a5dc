"""Show what happens under more load than there is capacity: ``python -m benchmarks.overload --help``."""

from __future__ import annotations

import json
import sys
from collections import Counter
from http.client import OK
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from benchmarks.load import H2load, LoadFailedError
from benchmarks.overload import findings
from benchmarks.overload.caller import Ending
from benchmarks.overload.trial import KINDS, PROBE, TENANTS, URGENT, Course, run
from benchmarks.report import Section, Table
from benchmarks.server_process import StartError
from penstock.errors import PenstockError

REPORT = Path(__file__).resolve().parents[2] / "build" / "overload"
_RAMP_S = 3.0
"""After the load began, before anything is known of the lane's rate and the queue is filled."""


def main(
    seconds: Annotated[float, typer.Option(min=10, help="How long the overload lasts.")] = 180.0,
    times: Annotated[float, typer.Option(min=1, help="Load, as a multiple of what the suite can do.")] = 3.0,
    rows: Annotated[int, typer.Option(min=1, help="Most rows that the model takes at a time.")] = 4,
    batch_ms: Annotated[float, typer.Option(min=1, help="How long it sleeps over them.")] = 10.0,
    peak_seconds: Annotated[float, typer.Option(min=1, help="How long to measure what it can do.")] = 12.0,
) -> None:
    """Find what a suite with its defaults can do, send it three times as much, and see who gets what, and how it ends.

    Three tenants send requests of two priorities and three deadlines to a model that sleeps, whether they are answered
    or not; probes and REST go along. All figures go to build/overload.
    """
    console = Console(width=150)
    try:
        with Console(stderr=True).status("") as status:
            course = run(
                seconds=seconds,
                peak_s=peak_seconds,
                times=times,
                batch=rows,
                batch_ms=batch_ms,
                client=H2load(),
                say=status.update,
            )
    except (LoadFailedError, StartError, PenstockError) as error:
        sys.exit(str(error))
    section = report(course)
    section.show(console)
    REPORT.mkdir(parents=True, exist_ok=True)
    (REPORT / "report.md").write_text(section.markdown("Made by `make overload`."))
    (REPORT / "report.json").write_text(json.dumps(findings.as_json(section.raw), indent=1))


def report(course: Course) -> Section:
    """Everything that is asked of a suite under overload."""
    steady = course.begin + _RAMP_S
    noted = {tenant: findings.within(course.noted[tenant], steady, course.end) for tenant in TENANTS}
    everyone = np.concatenate([course.noted[tenant] for tenant in TENANTS])
    all_steady = np.concatenate(list(noted.values()))
    of_tenants = findings.per_second(findings.answered_at(everyone), steady, course.end)
    others = [findings.answered_at(course.noted[PROBE]), [one.at for one in course.rest if one.status == OK]]
    per_second = of_tenants + findings.per_second(np.concatenate(others), steady, course.end)
    rate = float(per_second.mean())
    deadlines = findings.Deadlines.of(all_steady, KINDS)
    at_first = findings.Deadlines.of(findings.within(everyone, course.begin, steady), KINDS)
    refused = all_steady[findings.are_refused(all_steady)]
    recovered = findings.recovered_in_s(course.noted[PROBE], quiet_until=course.begin, ended=course.end)
    raw: dict[str, Any] = {
        "peak": course.peak,
        "offered": course.offered,
        "rate": rate,
        "rate_by_second": per_second.tolist(),
        "relative": rate / course.peak,
        "taken": deadlines.taken,
        "expired": deadlines.expired,
        "late": deadlines.late,
        "worst_late_ms": deadlines.worst_ms,
        "missed_at_first": at_first.expired + at_first.late,
        "taken_at_first": at_first.taken,
        "refused_ms": findings.percentiles(refused),
        "refusals": {ending.name: int((all_steady[:, findings.ENDING] == ending).sum()) for ending in Ending},
        "wrong_refusals": int(refused[:, findings.WRONG].sum()),
        "retry_after_s": dict(Counter(refused[:, findings.WAIT].astype(int).tolist())),
        "rest": dict(Counter(one.words for one in course.rest)),
        "recovered_in_s": recovered,
        "memory": course.memory,
        "batch_rows": course.batch_rows,
        "strangers": course.strangers,
        "stolen": course.stolen,
    }
    content = [
        _summary(course, raw),
        _tenants(course, noted, float(of_tenants.mean())),
        _kinds(all_steady),
        findings.memory_table(course.memory),
    ]
    return Section("Overload", content, raw)


def _summary(course: Course, raw: dict[str, Any]) -> Table:
    missed, late_ms = raw["expired"] + raw["late"], raw["worst_late_ms"]
    latency, lowest = raw["refused_ms"], min(raw["rate_by_second"], default=0)
    rows = [
        ["can do, requests a second (closed loop)", f"{course.peak:,.0f}"],
        ["offered", f"{sum(course.offered.values()):,.0f}"],
        ["answered under overload, in all", f"{raw['rate']:,.0f}, {raw['relative']:.1%}; lowest second {lowest:,}"],
        ["taken and not answered in time", f"{missed} of {raw['taken']} ({missed / max(1, raw['taken']):.2%})"],
        ["of these expired; late by the caller's clock, at most", f"{raw['expired']}; {raw['late']}, {late_ms:.0f} ms"],
        [f"the same in the first {_RAMP_S:.0f} s", f"{raw['missed_at_first']} of {raw['taken_at_first']}"],
        ["refused within, p50, p99, max", f"{latency['p50']:.1f}, {latency['p99']:.1f}, {latency['max']:.1f} ms"],
        ["refusals with a wrong status, Retry-After or RetryInfo", str(raw["wrong_refusals"])],
        ["Retry-After, seconds: how often", _counts(raw["retry_after_s"])],
        ["how requests ended", _counts(raw["refusals"])],
        ["REST", _counts(raw["rest"])],
        ["recovered after, s", "not" if raw["recovered_in_s"] is None else f"{raw['recovered_in_s']:.2f}"],
        ["rows in a batch, before and during", "{:.2f}, {:.2f}".format(*course.batch_rows)],
        ["taken by other programs, by other machines", f"{course.strangers:.0%}, {course.stolen:.0%} of this one"],
    ]  # fmt: skip
    return Table(["<", "<"], rows)


def _counts(counts: dict[Any, int]) -> str:
    return ", ".join(f"{key}: {count:,}" for key, count in counts.items() if count) or "none"


def _tenants(course: Course, noted: dict[str, findings.Rows], rate: float) -> Table:
    """Urgent requests come first; the rest is to be divided fairly."""
    seconds, rows = course.end - course.begin - _RAMP_S, []
    weights = [kind.weight for kind in KINDS]
    urgent = sum(kind.weight for kind in KINDS if kind.priority == URGENT) / sum(weights)
    wanted = {tenant: offered * (1 - urgent) for tenant, offered in course.offered.items()}
    fair = findings.fair_shares(wanted, rate - urgent * sum(course.offered.values()))
    for tenant, requests in noted.items():
        answered, offered = (requests[:, findings.ENDING] == Ending.ANSWERED).sum() / seconds, course.offered[tenant]
        rows.append([tenant, f"{offered:,.0f}", f"{answered:,.0f}", f"{fair[tenant] + urgent * offered:,.0f}"])
    return Table(["<tenant", "offered/s", "answered/s", "fair share"], rows)


def _kinds(requests: findings.Rows) -> Table:
    rows = []
    for index, kind in enumerate(KINDS):
        mine = requests[requests[:, findings.KIND] == index]
        answered = mine[mine[:, findings.ENDING] == Ending.ANSWERED]
        latency, deadlines = findings.percentiles(answered), findings.Deadlines.of(mine, KINDS)
        rows.append(
            [
                "urgent" if kind.priority == URGENT else "ordinary",
                f"{kind.timeout_s:g}",
                f"{len(mine):,}",
                f"{len(answered) / max(1, len(mine)):.0%}",
                f"{deadlines.expired + deadlines.late}",
                *(f"{latency[name]:.0f}" for name in ("p50", "p99", "max")),
            ]
        )
    return Table(["<priority", "deadline s", "sent", "answered", "missed", "p50 ms", "p99 ms", "max ms"], rows)


if __name__ == "__main__":
    typer.run(main)
