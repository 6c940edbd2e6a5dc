from __future__ import annotations

import tracemalloc
from dataclasses import replace

import pytest

from services.monitor.domain.blocks import NS, Block, Rejection, Skipped
from services.monitor.domain.detectors import VersionDetectors
from services.monitor.domain.evidence import Budget
from services.monitor.domain.figures import OVERFLOW, PANES, Figures, Sums, Window
from services.monitor.domain.gathering import gather
from services.monitor.domain.outcomes import Outcome
from services.monitor.domain.phases import Phase
from tests.support.traffic import START_S, batch


def executed(second: int = START_S, *, version: str = "1", model: str = "digits") -> Block:
    return gather([batch(end_ns=second * NS, version=version, model=model)], [], now_ns=second * NS)[0]


def rejected(outcome: Outcome, *, model: str, version: str = "1") -> Block:
    rejection = Rejection(model, version, b"r" * 16, START_S * NS, outcome, 1)
    return gather([], [rejection], now_ns=START_S * NS)[0]


def over(figures: Figures, *, model: str, window_s: int, now_s: float) -> list[Window]:
    found = [figures.window(key, window_s=window_s, now_s=now_s) for key in figures.keys(model=model)]
    return [window for window in found if window is not None]


def test_a_window_covers_whole_panes_and_the_one_that_is_being_filled() -> None:
    figures = Figures(max_series=10)
    for second in range(START_S, START_S + 100):
        figures.add(executed(second))

    (window,) = over(figures, model="digits", window_s=15, now_s=START_S + 99.5)

    assert window.seconds == pytest.approx(29.5)
    assert window.sums.executions == 30


def test_those_told_of_stand_for_all_that_was_executed() -> None:
    figures = Figures(max_series=10)
    told = replace(
        batch(wait_us=[100, 200, 300], total_us=[1_000, 2_000, 3_000], status=[0, 0, 0]),
        skipped=Skipped(10, 97, 97, 0),
    )
    (block,) = gather([told], [], now_ns=(START_S + 1) * NS)
    figures.add(block)
    (window,) = over(figures, model="digits", window_s=60, now_s=START_S + 1)
    sums = window.sums
    assert sums.counts.sum(axis=1).tolist() == [100] * len(Phase)
    assert sorted(sums.counts[Phase.TOTAL][sums.counts[Phase.TOTAL] > 0].tolist()) == [33, 33, 34]
    assert sums.sums_ns[Phase.TOTAL] == pytest.approx(200_000_000)
    assert sums.outcomes.tolist() == [100, 0, 0]


def test_closed_panes_lose_nothing_and_take_what_comes_late() -> None:
    figures, whole = Figures(max_series=10), Sums()
    for second in (*range(START_S, START_S + 60, 3), START_S + 41, START_S + 59):
        block = executed(second)
        whole.add(block)
        figures.add(block)

    (window,) = over(figures, model="", window_s=600, now_s=START_S + 60)

    assert (window.sums.counts == whole.counts).all()
    assert (window.sums.sums_ns == whole.sums_ns).all()
    assert (window.sums.outcomes == whole.outcomes).all()
    assert (window.sums.executions, window.sums.rows) == (whole.executions, whole.rows) == (22, 22)


def test_versions_that_are_asked_now_and_then_take_little_memory() -> None:
    figures, detectors = Figures(max_series=100), [VersionDetectors(Budget(1.0, 200)) for _ in range(10)]
    tracemalloc.start()
    try:
        for second in range(START_S, START_S + 600, 20):
            for number, watching in enumerate(detectors):
                block = executed(second, model=f"m{number}")
                figures.add(block)
                watching.add(block)
                list(watching.judge(second + 10))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held / len(detectors) < 250_000, "a pane takes 11 kB, the blocks of ten seconds 230 kB"


def test_panes_are_bounded() -> None:
    figures = Figures(max_series=10)
    for second in range(START_S, START_S + 2_000, 5):
        series = figures.add(executed(second))

    assert len(series.panes) <= PANES + 1
    assert series.totals.executions == 400


def test_a_clock_that_is_set_back_leaves_nothing_of_the_future() -> None:
    figures = Figures(max_series=10)
    figures.add(executed(START_S + 7_200))
    figures.add(executed(START_S))

    (window,) = over(figures, model="", window_s=60, now_s=START_S + 1)
    assert window.sums.executions == 1
    figures.expire(START_S + 601 + 10)
    assert len(figures) == 0


def test_a_late_block_removes_nothing() -> None:
    figures = Figures(max_series=10)
    for second in (START_S + 19, START_S + 9):
        figures.add(executed(second))

    (window,) = over(figures, model="", window_s=60, now_s=START_S + 20)
    assert window.sums.executions == 2


def test_versions_above_the_cap_share_one_series() -> None:
    figures = Figures(max_series=2)
    for version in "12345":
        figures.add(executed(version=version))

    windows = over(figures, model="", window_s=60, now_s=START_S)

    assert {(window.model, window.version): window.sums.executions for window in windows} == {
        ("digits", "1"): 1, ("digits", "2"): 1, OVERFLOW: 3,
    }  # fmt: skip


def test_models_of_a_clients_invention_use_no_series_up() -> None:
    figures = Figures(max_series=10)
    for number in range(50):
        figures.add(rejected(Outcome.CLIENT_ERROR, model=f"invented-{number}"))
    figures.add(rejected(Outcome.SERVER_ERROR, model="deployed"))
    figures.add(rejected(Outcome.SERVER_ERROR, model="no-version", version=""))

    assert {(series.model, series.version) for series in figures} == {OVERFLOW, ("deployed", "1")}


def test_client_errors_of_a_known_version_are_counted_there() -> None:
    figures = Figures(max_series=10)
    figures.add(executed())

    series = figures.add(rejected(Outcome.CLIENT_ERROR, model="digits"))

    assert series.totals.outcomes.tolist() == [1, 1, 0]


def test_what_is_called_now_and_then_counts_on() -> None:
    figures = Figures(max_series=10)
    figures.add(executed())
    figures.expire(START_S + 611)
    assert [series.totals.executions for series in figures.counted()] == [1]
    assert (list(figures), len(figures), figures.keys(model="")) == ([], 0, [])

    series = figures.add(executed(START_S + 900))

    assert series.totals.executions == 2
    assert list(figures) == [series]


def test_the_series_without_traffic_for_longest_makes_room() -> None:
    figures = Figures(max_series=2)
    for number, version in enumerate("12"):
        figures.add(executed(START_S + number, version=version))
    figures.expire(START_S + 10_000)
    for version in "345":
        figures.add(executed(START_S + 10_000, version=version))

    assert [series.version for series in figures.counted()] == ["3", "4", OVERFLOW[1]]


def test_the_series_that_others_share_takes_no_place() -> None:
    figures = Figures(max_series=2)
    figures.add(rejected(Outcome.CLIENT_ERROR, model="invented"))
    for version in "12":
        figures.add(executed(version=version))

    assert len(figures) == 2
    assert [(series.model, series.version) for series in figures] == [OVERFLOW, ("digits", "1"), ("digits", "2")]


def test_idle_series_are_forgotten_and_make_room() -> None:
    figures = Figures(max_series=1)
    figures.add(executed(version="1"))
    figures.expire(START_S + 10_000)
    figures.add(executed(START_S + 10_000, version="2"))

    assert [(series.model, series.version) for series in figures] == [("digits", "2")]
