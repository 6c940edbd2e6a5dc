"""What a shadow costs is measured on the real suite: copies are made in one half of each pair, and only there."""

from __future__ import annotations

import shutil

import pytest

from benchmarks import shadowing
from benchmarks.bench import Bench
from benchmarks.load import H2load, LoadFailedError
from benchmarks.measurement import Plan
from benchmarks.workloads import Identity

pytestmark = pytest.mark.skipif(shutil.which("h2load") is None, reason="h2load is not installed")


@pytest.fixture
def bench() -> Bench:
    return Bench(Plan(rounds=1, seconds=0.6), H2load(), say=lambda _step: None)


def test_each_pair_has_a_half_with_copies_and_one_without(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadowing, "RATES", (50,))
    monkeypatch.setattr(shadowing, "PAIRS", 2)

    section = shadowing.shadowing(bench)

    (table,) = (part for part in section.content if not isinstance(part, str))
    assert [row[0] for row in table.rows] == ["50"]
    assert [(one.system, len(one.rounds)) for one in bench.results] == [("with copies", 2), ("without", 2)]
    assert all(round_.requests == 30 for one in bench.results for round_ in one.rounds)


def test_a_half_without_the_copies_that_it_should_have_gives_no_figures(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadowing, "_COPIES_S", 3.0)
    with bench.suite() as suite:
        shadowed = shadowing.Shadowed(suite, Identity())
        call = suite.api(Identity()).call(Identity().rows(1))

        shadowed.turn(is_on=True)
        before = shadowed.copies()
        call.ask()
        shadowed.check(before, answered=1)
        with pytest.raises(LoadFailedError, match="copies of 2 requests, expected 2"):
            shadowed.check(before, answered=2)

        shadowed.turn(is_on=False)
        call.ask()
        shadowed.check(shadowed.copies(), answered=1)
        with pytest.raises(LoadFailedError, match="copies of 1 requests, expected 0"):
            shadowed.check(before, answered=1)
