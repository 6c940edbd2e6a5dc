"""Which traces go on, and why: by what their spans say, under a cap, each at most once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.monitor.domain import tail as module
from services.monitor.domain.blocks import NS
from services.monitor.domain.ring import KeptSpan
from services.monitor.domain.tail import Reason, Tail

NOW = 1_700_000_000 * NS
DELAY = 2 * NS


def made(*, rate: float = 100, contrasts: int = 0) -> Tail:
    return Tail(delay_ns=DELAY, traces_per_second=rate, contrasts_per_minute=contrasts)


def ident(number: int) -> bytes:
    return number.to_bytes(16, "big")


def see(tail: Tail, number: int, reason: Reason = Reason.NONE, *, subject: str = "digits/1", now_ns: int = NOW) -> bool:
    span = KeptSpan(ident(number), b"s" * 8, "", "", "penstock-inference", 0, 1, False, b"")
    return tail.see(span, reason, subject=subject, now_ns=now_ns)


def kept(tail: Tail, now_ns: int = NOW + DELAY) -> dict[int, Reason]:
    return {int.from_bytes(one.trace_id): one.reason for one in tail.due(now_ns)}


def test_a_trace_goes_on_for_its_strongest_reason_when_its_spans_had_time_to_come() -> None:
    tail = made()
    see(tail, 1, Reason.SLOW)
    see(tail, 1, Reason.ERROR, now_ns=NOW + NS)
    see(tail, 1, Reason.NONE)
    see(tail, 2)
    see(tail, 3, Reason.HEAD)

    assert kept(tail, NOW + DELAY - 1) == {}
    assert kept(tail) == {1: Reason.ERROR, 3: Reason.HEAD}
    assert kept(tail, NOW + 9 * DELAY) == {}
    assert {name: number for name, number in tail.results.items() if number} == {"error": 1, "head": 1, "none": 1}
    assert len(tail) == 0


def test_late_spans_follow_a_trace_that_went_on_and_reopen_one_that_did_not() -> None:
    tail = made()
    see(tail, 1, Reason.ERROR)
    see(tail, 2)
    kept(tail)

    assert see(tail, 1, now_ns=NOW + 2 * DELAY)
    assert not see(tail, 2, Reason.ERROR, now_ns=NOW + 2 * DELAY)
    assert kept(tail, NOW + 3 * DELAY) == {2: Reason.ERROR}


def test_what_shows_an_incident_goes_on_at_once_and_once() -> None:
    tail = made(rate=0.001)
    see(tail, 1)

    decided = [*tail.keep([ident(1), ident(2)], Reason.INCIDENT), *tail.keep([ident(1)], Reason.INCIDENT)]

    assert decided == [(ident(1), Reason.INCIDENT), (ident(2), Reason.INCIDENT)]
    assert see(tail, 1)
    assert kept(tail) == {}


def test_the_cap_leaves_half_to_stronger_reasons_and_all_to_those_sampled_elsewhere() -> None:
    tail = made(rate=5)  # ten at once
    for number in range(100):
        see(tail, number, Reason.SLOW)
    for number in range(100, 200):
        see(tail, number, Reason.ERROR)
    for number in range(200, 300):
        see(tail, number, Reason.HEAD)

    first = kept(tail)
    for number in range(300, 400):
        see(tail, number, Reason.SLOW, now_ns=NOW + DELAY)
    second = kept(tail, NOW + 9 * DELAY)

    by_reason = [list(first.values()).count(reason) for reason in (Reason.SLOW, Reason.ERROR, Reason.HEAD)]
    assert by_reason == [0, 10, 100]
    assert list(second.values()) == [Reason.SLOW] * 5
    assert tail.results["capped"] == 100 + 90 + 95


def test_a_canary_leaves_half_of_the_allowance_to_failures_and_what_was_sampled_is_not_capped_by_it() -> None:
    tail = made(rate=5)  # ten at once
    for number in range(50):
        see(tail, number, Reason.CANARY)
    assert sorted(kept(tail).values()) == [Reason.CANARY] * 5

    for number in range(100, 150):
        see(tail, number, Reason.CANARY, now_ns=NOW + DELAY)
        see(tail, number + 100, Reason.ERROR, now_ns=NOW + DELAY)
        see(tail, number + 200, Reason.CANARY, now_ns=NOW + DELAY)
        see(tail, number + 200, Reason.HEAD, now_ns=NOW + DELAY)
    reasons = list(kept(tail, NOW + 2 * DELAY).values())

    assert [reasons.count(reason) for reason in (Reason.CANARY, Reason.ERROR, Reason.HEAD)] == [0, 10, 50]


def test_a_few_innocent_ones_of_each_version_go_on_each_minute() -> None:
    tail = made(contrasts=2)
    for number in range(20):
        see(tail, number, subject=f"digits/{number % 2}")

    assert sorted(kept(tail)) == [0, 1, 2, 3]
    see(tail, 40, subject="", now_ns=NOW + DELAY)
    see(tail, 50, subject="digits/0", now_ns=NOW + DELAY)
    assert kept(tail, NOW + 2 * DELAY) == {}
    see(tail, 51, subject="digits/0", now_ns=NOW + DELAY)
    assert kept(tail, NOW + 63 * NS) == {51: Reason.CONTRAST}


def test_a_trace_that_another_one_due_is_linked_to_needs_no_decision() -> None:
    tail = made()
    see(tail, 1)
    see(tail, 2, Reason.HEAD)

    went = [(one.trace_id, tail.follow([ident(1)])) for one in tail.due(NOW + DELAY)]

    assert went == [(ident(2), [ident(1)])]
    assert tail.results["none"] == 0


def test_linked_traces_follow_once() -> None:
    tail = made()
    see(tail, 1)
    see(tail, 2)

    assert tail.follow([ident(1), ident(7)]) == [ident(1), ident(7)]
    assert tail.follow([ident(1)]) == []
    assert see(tail, 7)
    assert kept(tail) == {}
    assert tail.results["linked"] == 2


def test_at_the_end_all_are_decided_on() -> None:
    tail = made()
    see(tail, 1, Reason.ERROR)

    assert [one.trace_id for one in tail.due(NOW, at_once=True)] == [ident(1)]


def test_a_clock_set_back_keeps_nothing_waiting() -> None:
    tail = made()
    see(tail, 1, Reason.ERROR)

    assert kept(tail, NOW - 3_600 * NS) == {1: Reason.ERROR}


def test_a_flood_is_decided_on_early_and_what_is_remembered_is_bounded() -> None:
    tail = made(contrasts=1)
    for number in range(module.MAX_PENDING + 500):
        see(tail, number, Reason.HEAD, subject=f"s/{number}")

    assert len(kept(tail, NOW)) == 500
    assert len(tail) == module.MAX_PENDING
    kept(tail)
    assert len(tail._kept) == module.MAX_REMEMBERED
    for number in range(3 * module.MAX_SUBJECTS):
        see(tail, 1_000_000 + number, subject=f"s/{number}", now_ns=NOW + DELAY)
        kept(tail, NOW + 2 * DELAY + number * NS // 100)
    assert len(tail._contrasts) <= module.MAX_SUBJECTS


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("see"), st.integers(1, 12), st.sampled_from(Reason)),
            st.tuples(st.just("wait"), st.integers(0, 5 * NS), st.none()),
            st.tuples(st.just("keep"), st.integers(1, 12), st.none()),
            st.tuples(st.just("link"), st.integers(1, 12), st.none()),
        ),
        max_size=80,
    ),
    st.floats(0.1, 20),
    st.integers(0, 3),
)
def test_no_trace_goes_on_twice_and_each_is_accounted_for(
    events: list[tuple[str, int, Reason | None]], rate: float, contrasts: int
) -> None:
    tail, now_ns = made(rate=rate, contrasts=contrasts), NOW
    went: list[bytes] = []
    for what, number, reason in events:
        match what:
            case "see":
                assert see(tail, number, reason or Reason.NONE, now_ns=now_ns) == (ident(number) in went)
            case "keep":
                went += [one.trace_id for one in tail.keep([ident(number)], Reason.INCIDENT)]
            case "link":
                went += tail.follow([ident(number)])
            case _:
                now_ns += number
                went += [one.trace_id for one in tail.due(now_ns)]

    assert len(went) == len(set(went))
    decided = sum(tail.results[reason.label] for reason in Reason if reason is not Reason.NONE)
    assert decided + tail.results["linked"] == len(went)
