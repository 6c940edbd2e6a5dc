"""Outcomes of many runs as rows of figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from services.monitor.domain.phases import Severity
from tests.evaluation import intervals
from tests.evaluation.live.outcome import LiveOutcome
from tests.evaluation.run import Outcome
from tests.evaluation.scenarios import FAULTS, Fault, Strength


@dataclass(frozen=True, slots=True)
class FaultRow:
    """A fault in one strength. Delays are of those that were found; shares are None of none.

    ``floor``: requests; ``ratio``: the mean of ``judged_requests`` over it.
    """

    fault: str
    strength: str
    told: str
    is_counted: bool
    runs: int
    found: int
    named: int
    paged: int
    median_s: float | None
    p95_s: float | None
    requests_median: float | None
    requests_p95: float | None
    judged_mean: float | None
    floor: float | None
    traces: int
    touched_traces: int
    false_pages: int
    incidents: int

    @classmethod
    def of(cls, fault: Fault, strength: Strength, outcomes: Sequence[Outcome]) -> FaultRow:
        found = [one for one in outcomes if one.delay_s is not None]
        value = fault.value(strength)
        return cls(
            fault=fault.name,
            strength=strength,
            told=fault.unit.format(value),
            is_counted=not fault.only,
            runs=len(outcomes),
            found=len(found),
            named=sum(one.is_named for one in found),
            paged=sum(one.severity == Severity.PAGE for one in found),
            median_s=_quantile([one.delay_s for one in found], 50),
            p95_s=_quantile([one.delay_s for one in found], 95),
            requests_median=_quantile([one.delay_requests for one in found], 50),
            requests_p95=_quantile([one.delay_requests for one in found], 95),
            judged_mean=_mean([one.judged_requests for one in found]),
            floor=fault.floor(value) if fault.floor else None,
            traces=sum(one.traces for one in found),
            touched_traces=sum(one.touched_traces for one in found),
            false_pages=sum(one.pages for one in outcomes),
            incidents=sum(one.incidents for one in found),
        )

    @property
    def ratio(self) -> float | None:
        return self.judged_mean / self.floor if self.judged_mean is not None and self.floor else None


@dataclass(frozen=True, slots=True)
class QuietRow:
    """Runs in which nothing is wrong."""

    scenario: str
    runs: int
    requests: int
    seconds: int
    without_page: int
    pages: int
    tickets: int
    cpu_us: float

    @classmethod
    def of(cls, scenario: str, outcomes: Sequence[Outcome]) -> QuietRow:
        requests = sum(one.requests for one in outcomes)
        return cls(
            scenario=scenario,
            runs=len(outcomes),
            requests=requests,
            seconds=sum(one.seconds for one in outcomes),
            without_page=sum(not one.pages for one in outcomes),
            pages=sum(one.pages for one in outcomes),
            tickets=sum(one.tickets for one in outcomes),
            cpu_us=1e6 * sum(one.cpu_s for one in outcomes) / max(1, requests),
        )

    def per_million(self, events: int) -> tuple[float, float, float]:
        """Events in a million requests, and their exact interval at 95 %."""
        low, high = intervals.of_count(events)
        scale = 1e6 / max(1, self.requests)
        return events * scale, low * scale, high * scale


@dataclass(frozen=True, slots=True)
class RivalRow:
    """One way to raise alarms, on the same runs. ``named`` is None for what can't say what is wrong."""

    name: str
    runs: int
    found: int
    median_s: float | None
    named: int | None
    quiet_runs: int
    silent: int
    null_requests: int
    null_alarms: int


def fault_rows(outcomes: Sequence[Outcome]) -> list[FaultRow]:
    rows = []
    for fault in FAULTS:
        for strength in Strength:
            these = [one for one in outcomes if (one.job.scenario, one.job.strength) == (fault.name, strength)]
            rows += [FaultRow.of(fault, strength, these)] if these else []
    return rows


def quiet_rows(outcomes: Sequence[Outcome], kind: str) -> list[QuietRow]:
    names = dict.fromkeys(one.job.scenario for one in outcomes if one.job.kind == kind)
    return [QuietRow.of(name, [one for one in outcomes if one.job.scenario == name]) for name in names]


def rival_rows(outcomes: Sequence[Outcome]) -> list[RivalRow]:
    """The monitor first; of faults those of medium strength that are counted."""
    counted = {fault.name for fault in FAULTS if not fault.only}
    broken = [one for one in outcomes if one.job.strength == Strength.MEDIUM and one.job.scenario in counted]
    quiet = [one for one in outcomes if one.job.kind == "benign"]
    null = [one for one in outcomes if one.job.kind == "null"]
    delays = [one.delay_s for one in broken]
    requests = sum(one.requests for one in null)
    rows = [
        RivalRow(
            "Penstock", len(broken), _known(delays), _quantile(delays, 50), sum(one.is_named for one in broken),
            len(quiet), sum(not one.pages for one in quiet), requests, sum(one.pages for one in null),
        )
    ]  # fmt: skip
    for name in dict.fromkeys(name for one in outcomes for name in one.rivals):
        delays = [one.rivals[name].delay_s for one in broken if name in one.rivals]
        rows += [
            RivalRow(
                name, len(delays), _known(delays), _quantile(delays, 50), None,
                len(quiet), sum(not one.rivals[name].false_alarms for one in quiet if name in one.rivals),
                requests, sum(one.rivals[name].false_alarms for one in null if name in one.rivals),
            )
        ]  # fmt: skip
    return rows


@dataclass(frozen=True, slots=True)
class Goal:
    """What was aimed at, and what was reached."""

    aim: str
    reached: str
    is_met: bool


def goals(outcomes: Sequence[Outcome], live: LiveOutcome | None = None) -> list[Goal]:
    """Those that can be judged by what there is."""
    return _simulated_goals(outcomes) + ([] if live is None else _live_goals(live))


def _live_goals(live: LiveOutcome) -> list[Goal]:
    made = []
    for one in live.told:
        text = "not told" if one.after_s is None else f"{one.after_s:.1f} s, {one.severity}"
        text += "" if one.is_named or one.after_s is None else ", not named rightly"
        made.append(
            Goal(f"live, {one.fault}: named within {one.within_s:.0f} s", text, one.is_in_time and one.is_named)
        )
    made.append(Goal("live, models that nothing is done to: no page", f"{live.pages}", not live.pages))
    return made


def _simulated_goals(outcomes: Sequence[Outcome]) -> list[Goal]:
    rows = [one for one in fault_rows(outcomes) if one.is_counted]
    medium = [one for one in rows if one.strength == Strength.MEDIUM]
    made: list[Goal] = []
    if medium:
        runs, found = sum(one.runs for one in medium), sum(one.found for one in medium)
        named = sum(one.named for one in medium)
        traces, touched = sum(one.traces for one in rows), sum(one.touched_traces for one in rows)
        made += [_share("medium faults found", found, runs, 0.99)]
        made += [_share("named rightly, of medium ones found", named, found, 0.95)] if found else []
        made += [_share("traces shown that the fault touched", touched, traces, 0.9)] if traces else []
    ratios = [one.ratio for one in medium if one.ratio is not None]
    if ratios:
        text = f"{min(ratios):.1f} to {max(ratios):.1f} times"
        made.append(Goal("mean delay of medium faults at most twice the floor", text, max(ratios) <= 2))
    if benign := quiet_rows(outcomes, "benign"):
        silent, runs = sum(one.without_page for one in benign), sum(one.runs for one in benign)
        made.append(_share("runs without a page where nothing is wrong", silent, runs, 0.95))
    null = quiet_rows(outcomes, "null")
    for one in null:
        rate, low, high = one.per_million(one.pages)
        text = f"{rate:.3g} per 1e6 requests ({low:.2g}–{high:.2g}), in {one.requests:,} requests"
        made.append(Goal(f"at most one false page in 1e7 null requests, {one.scenario}", text, low <= 0.1))
    if null:
        # Nearly all is paid by the second, whatever comes in it: a request has a price where there are many.
        busy = max(null, key=lambda one: one.requests / one.seconds)
        made.append(Goal(f"at most 10 µs CPU a request, {busy.scenario}", f"{busy.cpu_us:.1f} µs", busy.cpu_us <= 10))
    return made


def _share(aim: str, count: int, total: int, least: float) -> Goal:
    low, high = intervals.of_share(count, total)
    text = f"{count} of {total}: {count / total:.1%} ({low:.1%}–{high:.1%})"
    return Goal(f"{aim}: at least {least:.0%}", text, count >= least * total)


def as_json(outcomes: Sequence[Outcome], live: LiveOutcome | None = None) -> dict[str, Any]:
    return {
        "goals": [asdict(one) for one in goals(outcomes, live)],
        "live": None if live is None else asdict(live),
        "faults": [asdict(one) | {"ratio": one.ratio} for one in fault_rows(outcomes)],
        **{kind: [asdict(one) for one in quiet_rows(outcomes, kind)] for kind in ("benign", "null")},
        "rivals": [asdict(one) for one in rival_rows(outcomes)],
        "runs": [one.as_json() for one in outcomes],
    }


def _known(values: Sequence[float | None]) -> int:
    return sum(one is not None for one in values)


def _quantile(values: Sequence[float | None], percent: float) -> float | None:
    known = [one for one in values if one is not None]
    return float(np.percentile(known, percent)) if known else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [one for one in values if one is not None]
    return float(np.mean(known)) if known else None
