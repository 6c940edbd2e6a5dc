from __future__ import annotations

import os
from pathlib import Path

import pytest

from services.common.payloads import directory
from tests.chaos.calls import Verdict
from tests.chaos.soak import report
from tests.chaos.soak.census import shared_folders
from tests.chaos.soak.course import Findings
from tests.chaos.soak.verdict import compare

BEFORE = {"gateway: memory, MB": 100.0, "gateway: open files": 40.0, "Redis: entries in lanes": 0.0, "home: MB": 5.0}


def bad(after: dict[str, float], new_versions: int = 0) -> list[str]:
    lines = compare(BEFORE, [], {**BEFORE, **after}, new_versions=new_versions)
    return [line.name for line in lines if line.is_bad]


def test_what_is_as_before_or_less_is_well() -> None:
    assert bad({}) == []
    assert bad({"gateway: memory, MB": 10.0}) == []


@pytest.mark.parametrize(
    ("name", "fits", "does_not"),
    [("gateway: memory, MB", 140, 142), ("gateway: open files", 46, 47), ("Redis: entries in lanes", 0, 1)],
)
def test_a_figure_may_grow_by_its_tolerance(name: str, fits: float, does_not: float) -> None:
    assert bad({name: fits}) == []
    assert bad({name: does_not}) == [name]


def test_what_wasnt_there_before_counts_from_nothing() -> None:
    assert bad({"gateway 3: processes": 1}) == ["gateway 3: processes"]


def test_new_versions_may_leave_files() -> None:
    before, after = {"home: files": 10.0}, {"home: files": 16.0}
    for versions, is_bad in ((1, True), (2, False)):
        (line,) = compare(before, [{"home: files": 20.0}], after, new_versions=versions)
        assert (line.is_bad, line.most) == (is_bad, 20.0)


@pytest.mark.parametrize(
    ("verdict", "status", "is_well"),
    [
        (Verdict.RIGHT, "", True),
        (Verdict.LOST, "", False),
        (Verdict.WRONG, "", False),
        (Verdict.REFUSED, "UNAVAILABLE", True),
        (Verdict.REFUSED, "INTERNAL", False),
    ],
)
def test_every_request_must_come_to_a_good_end(verdict: Verdict, status: str, is_well: bool) -> None:
    found = Findings()
    found.verdicts[verdict] += 1
    if status:
        found.refusals[status] += 1
    assert found.is_served_well == is_well


def test_the_picture_has_a_line_for_each_role() -> None:
    found = Findings(before=BEFORE, samples=[(1.0, BEFORE), (2.0, BEFORE)], faults=[(1.5, "kill-redis")])
    assert report.svg_of(found).count("<polyline") == 5


def test_folders_in_shared_memory_of_other_suites_are_not_counted(tmp_path: Path) -> None:
    left = tmp_path / "penstock-0123456789abcdef"
    left.mkdir()
    held = directory.create("fedcba9876543210", tmp_path)
    try:
        mine = tmp_path / "penstock-fedcba9876543210"
        assert shared_folders([], tmp_path) == [left]
        assert sorted(shared_folders([os.getpid()], tmp_path)) == [left, mine]
    finally:
        os.close(held)
    assert sorted(shared_folders([], tmp_path)) == [left, mine]
