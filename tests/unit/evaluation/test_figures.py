"""Floors, intervals and rows of figures."""

from __future__ import annotations

import math

import pytest

from tests.evaluation import floors, intervals
from tests.evaluation.live.outcome import LiveOutcome
from tests.evaluation.live.outcome import Told as LiveTold
from tests.evaluation.page import BEGIN, END, write
from tests.evaluation.rivals import Told
from tests.evaluation.run import Job, Outcome
from tests.evaluation.summary import fault_rows, goals, quiet_rows, rival_rows
from tests.evaluation.tables import grids


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [(0, 10, 0.0, 0.3085), (5, 10, 0.1871, 0.8129), (10, 10, 0.6915, 1.0), (1, 100, 0.00025, 0.0545), (0, 0, 0.0, 1.0)],
)
def test_the_interval_of_a_share_is_that_of_published_tables(count: int, total: int, low: float, high: float) -> None:
    assert intervals.of_share(count, total) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(("count", "low", "high"), [(0, 0.0, 3.6889), (1, 0.0253, 5.5716), (10, 4.7954, 18.3904)])
def test_the_interval_of_a_count_is_that_of_published_tables(count: int, low: float, high: float) -> None:
    assert intervals.of_count(count) == pytest.approx((low, high), abs=5e-4)


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="got 3 of 2"):
        intervals.of_share(3, 2)
    with pytest.raises(ValueError, match="got -1 events"):
        intervals.of_count(-1)


def test_the_floor_is_the_run_lengths_logarithm_over_the_divergence() -> None:
    divergence = 0.05 * math.log(50) + 0.95 * math.log(0.95 / 0.999)
    assert floors.of_share(0.001, 0.05) == pytest.approx(math.log(604_800 * 200 * 60) / divergence)
    assert floors.of_mix([0.001, 0.999], [0.05, 0.95]) == pytest.approx(floors.of_share(0.001, 0.05))
    assert floors.of_shift(0.5) == pytest.approx(4 * floors.of_shift(1.0))
    assert floors.of_mix([0.5, 0.5], [1.0, 0.0]) == pytest.approx(floors.NATS / math.log(2))
    with pytest.raises(ValueError, match="add up to 1"):
        floors.of_mix([0.5, 0.6], [0.5, 0.5])


def outcome(job: Job, **figures: object) -> Outcome:
    usual = {"requests": 1_000, "seconds": 100, "cpu_s": 0.005, "pages": 0, "tickets": 0, "rivals": {}}
    return Outcome(**{"job": job, **usual, **figures})  # type: ignore[arg-type]


def error_burst(seed: int, **figures: object) -> Outcome:
    return outcome(Job("faults", "error burst", "medium", "even", seed), **figures)


FOUND = {
    "delay_s": 4.0,
    "delay_requests": 300.0,
    "judged_requests": 200.0,
    "is_named": True,
    "severity": "page",
    "incidents": 1,
}
OUTCOMES = [
    error_burst(1, **FOUND, traces=5, touched_traces=5, rivals={"rule": Told(1, 2.0)}),
    error_burst(
        2, **{**FOUND, "is_named": False, "delay_s": 8.0}, traces=5, touched_traces=4, rivals={"rule": Told(0, None)}
    ),
    error_burst(3, rivals={"rule": Told(0, 6.0)}),
    outcome(Job("benign", "a cold start", "", "even", 1), pages=1, rivals={"rule": Told(0, None)}),
    outcome(
        Job("null", "60 requests/s", "", "even", 1), requests=2_000_000, cpu_s=16.0, rivals={"rule": Told(4, None)}
    ),
]


def test_a_fault_that_is_missed_has_no_delay_and_counts() -> None:
    (row,) = fault_rows(OUTCOMES)
    assert (row.runs, row.found, row.named, row.traces, row.touched_traces) == (3, 2, 1, 10, 9)
    assert (row.median_s, row.judged_mean, row.paged) == (6.0, 200.0, 2)
    assert row.ratio == pytest.approx(200 / floors.of_share(0.001, 0.05))
    (nothing,) = fault_rows(OUTCOMES[2:])
    assert (nothing.found, nothing.median_s, nothing.ratio) == (0, None, None)


def test_false_pages_are_told_by_requests_with_their_interval() -> None:
    (row,) = quiet_rows(OUTCOMES, "null")
    assert row.per_million(row.pages) == pytest.approx((0.0, 0.0, 3.6889 / 2), abs=1e-3)
    assert row.cpu_us == pytest.approx(8.0)


def test_rivals_are_judged_on_the_same_runs() -> None:
    ours, rule = rival_rows(OUTCOMES)
    assert (ours.found, ours.named, ours.silent, ours.null_alarms) == (2, 1, 0, 0)
    assert (rule.found, rule.named, rule.silent, rule.null_alarms, rule.median_s) == (2, None, 1, 4, 4.0)


def test_goals_that_are_missed_say_so() -> None:
    met = {one.aim.partition(":")[0]: one.is_met for one in goals(OUTCOMES)}
    assert met == {
        "medium faults found": False,
        "named rightly, of medium ones found": False,
        "traces shown that the fault touched": True,
        "mean delay of medium faults at most twice the floor": True,
        "runs without a page where nothing is wrong": False,
        "at most one false page in 1e7 null requests, 60 requests/s": True,
        "at most 10 µs CPU a request, 60 requests/s": True,
    }


def test_live_goals_ask_for_the_right_name_in_time(tmp_path) -> None:
    told = [
        LiveTold("named", 5, after_s=3.2, is_named=True, severity="page", summary="a replica is slow"),
        LiveTold("late", 5, after_s=5.1, is_named=True, severity="page"),
        LiveTold("another", 5, after_s=1.0, severity="ticket"),
        LiveTold("never", 5),
    ]
    live = LiveOutcome(tuple(told), quiet_s=60.0, requests=9_600, refused=0, pages=1, tickets=2)
    live.write(tmp_path / "live.json")
    assert LiveOutcome.read(tmp_path / "live.json") == live
    assert LiveOutcome.read(tmp_path / "none.json") is None
    met = goals([], live)
    assert [one.is_met for one in met] == [True, False, False, False, False]
    assert [one.reached for one in met[:4]] == [
        "3.2 s, page", "5.1 s, page", "1.0 s, ticket, not named rightly", "not told",
    ]  # fmt: skip
    shown = grids([], live)[-1].as_markdown()
    assert "| named | a replica is slow | 3.2 | 5 |" in shown
    assert "| 1 pages, 2 tickets |" in shown


def test_outcomes_survive_json_and_what_precision_takes_is_not_counted() -> None:
    assert [Outcome.from_json(one.as_json()) for one in OUTCOMES] == OUTCOMES
    lost = outcome(Job("faults", "precision loss", "medium", "even", 1))
    assert goals([lost]) == []
    assert "takes golden probes" in grids([lost])[0].as_markdown()


def test_the_page_keeps_what_people_wrote(tmp_path) -> None:
    page = tmp_path / "detection.md"
    page.write_text(f"# Head\n{BEGIN}\nof yesterday\n{END}\ntail\n")
    write(OUTCOMES, command="make eval-monitor", path=page)
    text = page.read_text()
    assert text.startswith("# Head\n")
    assert text.endswith(f"{END}\ntail\n")
    assert "yesterday" not in text
    assert "| error burst | 0.1 % to 5 % | 3 | 67% | 50% | 100% | yes | 6.0 |" in text
    assert page.with_suffix(".svg").read_text().count("<rect") > 3
    page.write_text("no marks")
    with pytest.raises(ValueError, match="no marks"):
        write(OUTCOMES, command="make eval-monitor", path=page)


def test_intervals_of_many_runs_are_known_too() -> None:
    low, high = intervals.of_share(9_900, 10_000)
    assert (low, high) == pytest.approx((0.98785, 0.99186), abs=1e-5)
