"""From what callers noted under overload to figures."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.overload import findings
from benchmarks.overload.caller import Ending, Kind

KINDS = (Kind(1, 1.0), Kind(2, 0.5))


def rows(*noted: tuple[float, float, int, Ending]) -> findings.Rows:
    return np.array([(*one, 0, 0) for one in noted], dtype=np.float64)


def test_fair_shares_are_max_min() -> None:
    shares = findings.fair_shares({"a": 10.0, "b": 100.0, "c": 40.0}, 90.0)
    assert shares == {"a": 10.0, "b": 40.0, "c": 40.0}
    assert findings.fair_shares({"a": 10.0, "b": 20.0}, 90.0) == {"a": 10.0, "b": 20.0}


def test_what_was_taken_and_missed_its_deadline_is_counted() -> None:
    found = findings.Deadlines.of(
        rows(
            (0.0, 0.9, 0, Ending.ANSWERED),
            (0.0, 0.9, 1, Ending.ANSWERED),
            (0.0, 0.5, 1, Ending.EXPIRED),
            (0.0, 0.001, 1, Ending.UNREACHABLE),
        ),
        KINDS,
    )
    assert (found.taken, found.expired, found.late) == (3, 1, 1)
    assert found.worst_ms == pytest.approx(400)
    assert found.missed == pytest.approx(2 / 3)


def test_a_suite_has_recovered_when_probes_are_answered_as_before() -> None:
    quiet = [(at / 10, at / 10 + 0.01, 0, Ending.ANSWERED) for at in range(10)]
    slow = [(at / 10, at / 10 + 0.5, 0, Ending.ANSWERED) for at in range(20, 25)]
    good = [(at / 10, at / 10 + 0.02, 0, Ending.ANSWERED) for at in range(25, 40)]
    probes = rows(*quiet, *slow, *good)
    assert findings.recovered_in_s(probes, quiet_until=1.0, ended=2.0) == pytest.approx(0.5)
    assert findings.recovered_in_s(rows(*quiet, *slow), quiet_until=1.0, ended=2.0) is None


def test_answers_are_counted_by_the_second_in_which_they_came() -> None:
    found = rows((0.0, 0.5, 0, Ending.ANSWERED), (0.0, 1.5, 0, Ending.ANSWERED), (0.0, 1.6, 0, Ending.FULL))
    assert findings.per_second(findings.answered_at(found), 0.0, 2.0).tolist() == [1, 1]
