"""Figures and detectors of services of other makes: named when something breaks, silent when not, never without end."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.monitor.domain.blocks import NS
from services.monitor.domain.detectors import LATENESS_S
from services.monitor.domain.evidence import average_run_length
from services.monitor.domain.findings import Alarm, Recovery
from services.monitor.domain.foreign import IDLE_S, OVERFLOW, Call, Finding, ForeignServices, SeriesKey, ServiceWindow
from services.monitor.domain.foreign_incidents import ForeignIncidents
from services.monitor.domain.outcomes import Outcome
from services.monitor.domain.phases import Signal

RUN_LENGTH = average_run_length(false_alarms_per_week=1, assumed_series=200)
THRESHOLD = math.log(RUN_LENGTH)
START_S = 1_700_000_000
CART = SeriesKey("shop", "GET /cart", "pod-1")


def call(key: SeriesKey = CART, *, second: float = START_S, ms: float = 20.0, outcome: Outcome = Outcome.OK) -> Call:
    return Call(key, bytes([int(outcome) + 1]) * 16, int(second * NS), int(ms * 1e6), outcome)


def replay(services: ForeignServices, seconds: Iterable[tuple[int, list[Call]]]) -> list[tuple[int, Finding]]:
    """Findings, and the second that each rests on."""
    found = []
    for second, calls in seconds:
        services.add(calls, now_ns=(second + 1) * NS)
        found += [(second - START_S, one) for one in services.judge(second + 1 + LATENESS_S)]
    return found


def traffic(
    first: int, until: int, *, key: SeriesKey = CART, slower: float = 1.0, failing: float = 0.0, seed: int = 1
) -> Iterable[tuple[int, list[Call]]]:
    """40 calls a second with lognormal durations."""
    random_source = random.Random(seed + first)
    for second in range(START_S + first, START_S + until):
        yield (
            second,
            [
                call(
                    key,
                    second=second + 0.5,
                    ms=slower * 20 * math.exp(random_source.gauss(0, 0.4)),
                    outcome=Outcome.SERVER_ERROR if random_source.random() < failing else Outcome.OK,
                )
                for _ in range(40)
            ],
        )


def over(services: ForeignServices, *, service: str, window_s: int, now_s: float) -> list[ServiceWindow]:
    found = [services.window(key, window_s=window_s, now_s=now_s) for key in services.keys(service=service)]
    return [window for window in found if window is not None]


def test_calls_become_figures_by_service_operation_and_replica() -> None:
    services = ForeignServices(max_series=100, threshold=THRESHOLD)
    now_ns = (START_S + 5) * NS
    other = SeriesKey("shop", "GET /cart", "pod-2")
    services.add([call(ms=10), call(ms=30), call(outcome=Outcome.SERVER_ERROR), call(other)], now_ns=now_ns)

    first, second = over(services, service="shop", window_s=60, now_s=START_S + 5)

    assert (first.key, second.key) == (CART, other)
    assert (first.tally.outcomes, first.tally.sum_ns) == ([2, 0, 1], 60_000_000)
    assert int(first.tally.counts.sum()) == 3
    assert over(services, service="else", window_s=60, now_s=START_S + 5) == []
    (later, _) = over(services, service="", window_s=60, now_s=START_S + 200)
    assert later.tally.calls == 0


def test_a_failing_service_is_named_and_its_recovery_seen() -> None:
    services = ForeignServices(max_series=100, threshold=THRESHOLD)

    quiet = replay(services, traffic(0, 90, failing=0.001))
    loud = replay(services, traffic(90, 130, failing=0.5))
    over = replay(services, traffic(130, 200))

    assert quiet == []
    (second, (key, alarm)), *more = loud
    assert more == []
    assert isinstance(alarm, Alarm)
    assert (key, alarm.signal) == (CART, Signal.ERROR_RATE)
    assert 90 <= second < 110
    assert START_S + 88 <= alarm.change_second <= START_S + 92
    assert alarm.traces
    assert set(alarm.traces) == {bytes([Outcome.SERVER_ERROR + 1]) * 16}
    assert [type(finding) for _, (_, finding) in over] == [Recovery]


def test_a_slow_replica_is_named_and_the_other_is_not() -> None:
    services = ForeignServices(max_series=100, threshold=THRESHOLD)
    good, bad = CART, SeriesKey("shop", "GET /cart", "pod-2")

    def both(first: int, until: int, slower: float) -> Iterable[tuple[int, list[Call]]]:
        pairs = zip(traffic(first, until, key=good), traffic(first, until, key=bad, slower=slower, seed=2), strict=True)
        for (second, one), (_, other) in pairs:
            yield second, one + other

    assert replay(services, both(0, 60, 1.0)) == []
    found = replay(services, both(60, 100, 4.0))

    ((_, (key, alarm)),) = found
    assert isinstance(alarm, Alarm)
    assert (key, alarm.signal) == (bad, Signal.LATENCY)
    assert alarm.after[0] > 3 * alarm.before[0]


def test_more_load_and_ten_minutes_without_any_are_no_fault() -> None:
    services = ForeignServices(max_series=100, threshold=THRESHOLD)

    def loads() -> Iterable[tuple[int, list[Call]]]:
        yield from traffic(0, 60)
        for (second, one), (_, other) in zip(traffic(60, 100), traffic(60, 100, seed=9), strict=True):
            yield second, one + other * 3
        yield from traffic(800, 850)

    assert replay(services, loads()) == []


def test_what_was_learnt_outlives_a_restart() -> None:
    before = ForeignServices(max_series=100, threshold=THRESHOLD)
    replay(before, traffic(0, 60))
    after = ForeignServices(max_series=100, threshold=THRESHOLD)
    assert after.adopt(dict(before.references())) == []

    found = replay(after, traffic(60, 100, slower=4.0))

    assert [(key, finding.signal) for _, (key, finding) in found] == [(CART, Signal.LATENCY)]
    assert dict(after.references()).keys() == {CART}


def test_ids_in_names_end_in_an_overflow_series() -> None:
    services = ForeignServices(max_series=40, threshold=THRESHOLD)
    services.add([call(SeriesKey("shop", "GET /cart", f"pod-{number}")) for number in range(100)], now_ns=START_S * NS)
    services.add([call(SeriesKey("shop", f"GET /{number}", "pod-1")) for number in range(100)], now_ns=START_S * NS)
    services.add([call(SeriesKey(f"s-{number}", "GET", "")) for number in range(100)], now_ns=START_S * NS)

    by_key = {key: series.totals.calls for key, series in services}

    assert sum(by_key.values()) == 300
    assert by_key["shop", "GET /cart", OVERFLOW] == 95  # an operation has an eighth to itself
    assert by_key["shop", OVERFLOW, OVERFLOW] == 100 - (10 - 6)  # and a service a quarter
    assert by_key[OVERFLOW, OVERFLOW, OVERFLOW] > 60
    assert len(by_key) <= 42


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 30), st.integers(0, 30)), max_size=400), st.integers(1, 30))
def test_whatever_names_come_series_stay_bounded_and_no_call_is_lost(
    names: list[tuple[int, int, int]], max_series: int
) -> None:
    services = ForeignServices(max_series=max_series, threshold=THRESHOLD)
    for service, operation, replica in names:
        services.add([call(SeriesKey(f"s{service}", f"o{operation}", f"r{replica}"))], now_ns=START_S * NS)

    named = {key.service for key, _ in services}
    assert len(services) <= max_series + len(named) + 1 <= 2 * max_series + 2
    assert sum(series.totals.calls for _, series in services) == len(names)
    services.expire(START_S + IDLE_S + 1)
    assert len(services) == 0
    services.add([call()], now_ns=START_S * NS)
    assert [key for key, _ in services] == [CART]


def test_what_is_called_now_and_then_counts_on() -> None:
    services = ForeignServices(max_series=100, threshold=THRESHOLD)
    services.add([call(), call()], now_ns=START_S * NS)
    services.expire(START_S + IDLE_S + 1)
    assert (len(services), services.totals()[CART].calls) == (0, 2)

    services.add([call(second=START_S + 900)], now_ns=(START_S + 900) * NS)

    assert services.totals()[CART].calls == 3


def test_what_was_counted_makes_room_the_longest_without_calls_first() -> None:
    services = ForeignServices(max_series=8, threshold=THRESHOLD)
    keys = [SeriesKey(f"s{number}", "GET", "") for number in range(12)]
    for number, key in enumerate(keys):
        now_s = START_S + 700 * number
        services.add([call(key, second=now_s)], now_ns=now_s * NS)
        services.expire(now_s)

    assert list(services.totals()) == keys[-8:]


def test_calls_of_another_time_count_as_of_now() -> None:
    services = ForeignServices(max_series=100, threshold=THRESHOLD)
    services.add([call(second=1), call(second=START_S * 2)], now_ns=START_S * NS)

    (window,) = over(services, service="", window_s=10, now_s=START_S)
    assert window.tally.calls == 2


def alarm_of(services: ForeignServices, key: SeriesKey) -> Alarm:
    found = replay(services, traffic(0, 40, key=key, failing=1.0))
    return next(one for _, (_, one) in found if isinstance(one, Alarm))


def test_several_series_of_a_service_are_one_incident_with_its_name() -> None:
    services = ForeignServices(max_series=100, threshold=THRESHOLD)
    incidents = ForeignIncidents(average_run_length=RUN_LENGTH)
    other = SeriesKey("shop", "PUT /cart", "pod-2")
    alarm, now_ns = alarm_of(services, CART), (START_S + 60) * NS

    (opened,) = incidents.take(CART, alarm, traces=["ab" * 16], now_ns=now_ns)
    assert incidents.take(other, alarm, traces=[], now_ns=now_ns) == []

    assert (opened.model, opened.version, opened.signal) == ("services/shop", "GET /cart", Signal.ERROR_RATE)
    assert opened.summary.startswith("Errors of GET /cart of service shop on pod-1 rose from at most 5.00% to 100.00%")
    assert (opened.before, opened.after, opened.traces) == (pytest.approx(0.05), 1.0, ("ab" * 16,))
    assert incidents.open == [opened]
    assert incidents.take(CART, Recovery(Signal.ERROR_RATE, None), traces=[], now_ns=now_ns) == []
    (closed,) = incidents.take(other, Recovery(Signal.ERROR_RATE, None), traces=[], now_ns=now_ns + NS)
    assert (closed.incident_id, closed.is_open) == (opened.incident_id, False)
    assert "back to normal" in closed.summary
    assert incidents.open == []


def test_an_incident_goes_on_after_a_restart_and_ends_without_calls() -> None:
    alarm, now_ns = alarm_of(ForeignServices(max_series=100, threshold=THRESHOLD), CART), (START_S + 60) * NS
    (opened,) = ForeignIncidents(average_run_length=RUN_LENGTH).take(CART, alarm, traces=[], now_ns=now_ns)

    incidents = ForeignIncidents(average_run_length=RUN_LENGTH)
    incidents.adopt(opened, now_ns=now_ns)
    services = ForeignServices(max_series=100, threshold=THRESHOLD, is_alarmed=incidents.goes_on)
    found = replay(services, traffic(60, 100))

    ((_, (key, recovery)),) = found
    assert isinstance(recovery, Recovery)
    (closed,) = incidents.take(key, recovery, traces=[], now_ns=now_ns)
    assert closed.incident_id == opened.incident_id

    incidents.adopt(opened, now_ns=now_ns)
    assert incidents.goes_on(key, Signal.ERROR_RATE)
    incidents.saw_calls(["shop"], now_ns=now_ns + 200 * NS)
    assert incidents.close_idle(now_ns=now_ns + 400 * NS) == []
    (idle,) = incidents.close_idle(now_ns=now_ns + 600 * NS)
    assert "no more calls" in idle.summary
