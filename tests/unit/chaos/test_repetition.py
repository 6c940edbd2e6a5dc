from __future__ import annotations

from random import Random

import pytest

from tests.chaos.calls import Call, Verdict
from tests.chaos.fault import Fault
from tests.chaos.repetition import Moments, Repetition, figures

MOMENTS = Moments(began=0.0, struck=1.0, ended=5.0)


class Gentle(Fault):
    name, breaks, promise = "gentle", "nothing", "nothing"


class Rough(Fault):
    name, breaks, promise = "rough", "a gateway", "UNAVAILABLE where calls were open"
    open_calls_may = frozenset({"UNAVAILABLE"})


class Full(Fault):
    name, breaks, promise = "full", "memory", "UNAVAILABLE"
    calls_may = frozenset({"UNAVAILABLE"})


def call(number: int, sent: float, ended: float, verdict: Verdict = Verdict.RIGHT, status: str = "") -> Call:
    return Call(number, "gRPC", sent, ended, verdict, status)


def test_every_call_counts_once() -> None:
    calls = [
        call(1, 0.1, 0.2),
        call(2, 1.1, 1.2, Verdict.WRONG),
        call(3, 1.1, 1.2, Verdict.DUPLICATE),
        call(4, 1.1, 21.0, Verdict.LOST, "DEADLINE_EXCEEDED"),
        Call(5, "REST", 2.0),
        call(6, 1.1, 1.2, Verdict.REFUSED, "INTERNAL"),
    ]
    found = figures(calls, Gentle, MOMENTS)
    names = ("sent", "right", "wrong", "duplicates", "lost")
    assert [found[name] for name in names] == [6, 1, 1, 1, 2]
    assert found["errors"] == {"INTERNAL": 1}
    assert Repetition("gentle", 1, "", "", **found).is_bad


@pytest.mark.parametrize(
    ("fault", "sent", "ended", "is_excused"),
    [
        (Gentle, 0.9, 1.1, False),
        (Rough, 0.9, 1.1, True),
        (Rough, 1.1, 1.2, True),
        (Rough, 0.5, 0.9, False),
        (Rough, 3.0, 3.1, False),
        (Full, 3.0, 3.1, True),
        (Full, 0.2, 0.3, False),
    ],
)
def test_a_refusal_is_excused_where_the_fault_says_so(
    fault: type[Fault], sent: float, ended: float, is_excused: bool
) -> None:
    refused = call(1, sent, ended, Verdict.REFUSED, "UNAVAILABLE")
    found = figures([refused], fault, MOMENTS)
    assert (not found["unexpected"]) == is_excused
    assert Repetition(fault.name, 1, "", "", **found).is_bad != is_excused


def test_another_status_is_never_excused() -> None:
    found = figures([call(1, 1.0, 1.1, Verdict.REFUSED, "INTERNAL")], Full, MOMENTS)
    assert found["unexpected"] == {"gRPC INTERNAL: ": 1}


def test_latencies_are_of_what_was_open_from_the_fault_on() -> None:
    calls = [call(1, 0.1, 0.9), call(2, 0.9, 1.4), call(3, 2.0, 2.1)]
    found = figures(calls, Gentle, MOMENTS)
    assert (found["max_ms"], found["p99_ms"]) == (500.0, 500.0)


def test_a_repetition_comes_back_from_json() -> None:
    whole = Repetition("gentle", 2, "2030-01-01", "abc", sent=3, errors={"UNAVAILABLE": 1}, timeline=(1, 2))
    assert Repetition.from_json(whole.as_json()) == whole


def test_a_fault_chooses_the_same_again() -> None:
    assert Gentle(Random("0 gentle 1")).random.random() == Gentle(Random("0 gentle 1")).random.random()
