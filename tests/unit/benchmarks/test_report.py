"""Ratios, tables and the page: what a reader is told follows from what was measured."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from benchmarks.measurement import Figures, Result, median_of
from benchmarks.peers.report import OURS, Standing, Start, section_of
from benchmarks.plot import Chart, svg_of
from benchmarks.report import BARE, Page, Table, change, costs_table
from benchmarks.scenarios import telemetry_table
from benchmarks.shadowing import shadowing_table
from benchmarks.workloads import Identity


def figures(rate: float, *, cpu: float = 50.0) -> Figures:
    return Figures(
        requests=100,
        rate=rate,
        p50_ms=1.0,
        p99_ms=2.0,
        batch_rows=3.0,
        cpu_us={"gateway": cpu, "model": cpu},
        memory_mb=200.0,
        strangers_share=0.0,
    )


def test_a_change_has_an_interval_which_is_narrow_where_ratios_agree() -> None:
    assert change([[0.98, 0.98]] * 5) == "-2.0% (-2.0% to -2.0%)"
    assert change([[1.5], [0.5]] * 10 + [[1.0]]) == "+0.0% (-50.0% to +50.0%)"


def test_ratios_that_depend_on_each_other_tell_no_more_than_one() -> None:
    alone, repeated = change([[0.9], [1.0], [1.1]]), change([[0.9] * 50, [1.0] * 50, [1.1] * 50])

    assert alone == repeated == "+0.0% (-10.0% to +10.0%)"


def test_what_telemetry_costs_is_told_by_pairs_of_rounds() -> None:
    with_it, without = [figures(98, cpu=51), figures(490, cpu=51)], [figures(100), figures(500)]
    results = [
        Result("identity", clients, title, tuple(rounds) * clients)
        for clients in (1, 16)
        for title, rounds in (("on", with_it), ("off", without))
    ]

    rows = telemetry_table(results, suites=2).rows

    assert [row[0] for row in rows] == ["1", "16"]
    assert [row[3].split()[0] for row in rows] == ["-2.0%", "-2.0%"]
    assert [row[7].split()[0] for row in rows] == ["+2.0%", "+2.0%"]


def test_what_a_shadow_costs_is_told_by_pairs_of_rounds() -> None:
    pairs = [(figures(200, cpu=75), figures(200)), (figures(200, cpu=150), figures(200, cpu=100))]

    (row,) = shadowing_table({200: pairs}).rows

    assert row[:3] == ["200", "200", "200"]
    assert [row[at].split()[0] for at in (5, 8, 9)] == ["+0.0%", "+0.0%", "+50.0%"]


def test_medians_are_taken_figure_by_figure() -> None:
    median = median_of([figures(100, cpu=9), figures(300, cpu=7), figures(200, cpu=8)])

    assert (median.rate, median.cpu_us["model"], median.requests) == (200, 8, 300)


def test_a_row_says_how_it_stands_to_both_yardsticks() -> None:
    results = [Result("w", 16, "Penstock", (figures(100),)), Result("w", 16, BARE, (figures(200),))]

    table = costs_table(results, {1: 10.0, 16: 80.0})

    assert [row[-2:] for row in table.rows] == [["0.50×", "1.25×"], ["", ""], ["", ""], ["", ""]]
    assert table.rows[0][:7] == ["16", "Penstock", "100", "1.00", "2.00", "3.0", "100"]
    assert all(len(row) == len(table.headings) for row in table.rows)


def test_a_section_replaces_its_predecessor_alone(tmp_path: Path) -> None:
    for key, text in (("b", "## B\n\nstale"), ("a", "## A"), ("b", "## B\n\nnew"), ("gone", "## Gone")):
        page = Page(tmp_path / "page.md")
        page.put(key, text)
        page.write(["a", "b"])

    text = (tmp_path / "page.md").read_text()
    assert text.index("## A") < text.index("## B\n\nnew")
    assert "stale" not in text
    assert "Gone" not in text


def test_numbers_are_aligned_to_the_right() -> None:
    assert Table(["<a", "b"], [["x", "1"]]).markdown() == "| a | b |\n|---|--:|\n| x | 1 |"


def test_a_server_that_failed_is_named_with_the_reason(tmp_path: Path) -> None:
    fast = Standing(OURS, "1", "as it comes", {("identity", 64): [figures(300)]}, [Start(1.0, 100.0)])
    slow = Standing("Triton", "2", "tuned", {("identity", 64): [figures(100)]}, [Start(2.0, 200.0)])
    away = Standing("Other", "3", "tuned", {}, [], failure="not installed: no wheel")

    text = section_of([fast, slow, away], {"identity": Identity()}, folder=tmp_path).markdown("now")

    assert "- Other: not installed: no wheel" in text
    assert "| Triton | – |  | – |  | 100 | 3.00× |" in text
    assert {path.name for path in tmp_path.iterdir()} == {"throughput.svg", "ratios.svg"}


def test_a_plot_is_well_formed_and_in_proportion() -> None:
    root = ElementTree.fromstring(svg_of([Chart("a < b", ["1"], {"x & y": [10.0], "z": [5.0]})]))

    bars = [one for one in root.iter("{http://www.w3.org/2000/svg}rect") if one.get("y") and one.get("width") != "12"]
    heights = [float(one.attrib["height"]) for one in bars]
    assert heights[0] / heights[1] == 2
