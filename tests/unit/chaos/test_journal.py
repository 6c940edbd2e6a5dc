from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos import page
from tests.chaos.faults import FAULTS
from tests.chaos.journal import Journal
from tests.chaos.repetition import Repetition
from tests.chaos.summary import Summary
from tests.chaos.timeline import svg_of

KILL = "kill-redis"
LINE = tuple([10] * 10 + [0] * 8 + [10] * 82)


def repetition(number: int, **changes: object) -> Repetition:
    defaults = {"sent": 50, "right": 50, "recovery_s": 0.8, "usual_rate": 100.0, "timeline": LINE, "max_ms": 900.0}
    return Repetition(KILL, number, "2030-01-02T03:04:05", "abc1234", **{**defaults, **changes})  # type: ignore[arg-type]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    made = Journal(tmp_path)
    made.begin({"at": "2030-01-02", "version": "abc1234", "machine": "one machine"})
    made.add(repetition(1))
    made.add(repetition(2, recovery_s=2.4, errors={"UNAVAILABLE": 2}, unexpected={"gRPC UNAVAILABLE: gone": 2}))
    return made


def test_a_run_is_continued_where_it_ended(journal: Journal, tmp_path: Path) -> None:
    with journal.path.open("a") as file:
        file.write('{"fault": "kill-redis", "num')
    again = Journal(tmp_path)
    assert again.repetitions == journal.repetitions
    assert again.sittings == journal.sittings
    assert [len(again.of(name)) for name in (KILL, "kill-agent")] == [2, 0]
    again.add(repetition(3))
    assert len(Journal(tmp_path).of(KILL)) == 3


def test_earlier_results_are_put_aside_not_thrown_away(journal: Journal, tmp_path: Path) -> None:
    Journal.put_aside(tmp_path)
    assert Journal(tmp_path).repetitions == []
    (aside,) = tmp_path.glob("results-*.jsonl")
    assert len(aside.read_text().splitlines()) == 3
    Journal.put_aside(tmp_path)


def test_what_was_not_tried_says_why(journal: Journal) -> None:
    journal.add(Repetition("disk-cache", 1, "", "", skipped="no root"))
    assert (journal.of("disk-cache"), journal.why_skipped("disk-cache")) == ([], "no root")


def test_a_summary_adds_up_and_knows_its_target(journal: Journal) -> None:
    one = Summary(FAULTS[KILL], journal.of(KILL), "")
    assert (one.sent, one.right, one.recovery(0.5), one.recovery(0.95)) == (100, 100, 0.8, 2.4)
    assert one.errors == {"UNAVAILABLE": 2}
    assert one.is_bad
    assert not one.is_late


def test_only_what_was_measured_is_replaced_in_the_page(journal: Journal, tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(f"# By hand\n\n{page.BEGIN}\nold\n{page.END}\n\nAlso by hand\n")
    summaries = [Summary(kind, journal.of(name), "") for name, kind in FAULTS.items()]
    page.write(journal, summaries, path)
    text = path.read_text()
    assert text.startswith("# By hand\n")
    assert text.endswith("\n\nAlso by hand\n")
    assert "old" not in text
    assert "100 requests in 2 repetitions of 1 faults: 0 lost" in text
    assert "unexpected: 2" in text
    assert "one machine" in text
    assert path.with_suffix(".svg").read_text().count("<polyline") == 2


def test_a_page_without_marks_is_left_alone(journal: Journal, tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("# By hand\n")
    with pytest.raises(ValueError, match="no marks"):
        page.write(journal, [], path)
    assert path.read_text() == "# By hand\n"


def test_faults_that_nobody_notices_have_no_picture() -> None:
    quiet = Summary(FAULTS[KILL], [repetition(1, recovery_s=0.0)], "")
    assert "<polyline" not in svg_of([quiet])
