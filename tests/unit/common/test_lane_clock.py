from __future__ import annotations

from dataclasses import dataclass

import pytest

from penstock.queue.v1.envelope_pb2 import Envelope
from services.common.lane_clock import LaneClock
from services.common.lanes import Entry

S = 1_000_000_000
NOW = 1_700_000_000 * S


@dataclass
class Host:
    """The clocks of a host; its wall clock can step."""

    wall: int = NOW
    monotonic: int = 7 * S

    def clock(self) -> LaneClock:
        return LaneClock(wall_ns=lambda: self.wall, monotonic_ns=lambda: self.monotonic)

    def sleep(self, seconds: float) -> None:
        self.wall += int(seconds * S)
        self.monotonic += int(seconds * S)


def entry(enqueue_ns: int, lifetime_s: float = 20.0) -> Entry:
    return Entry(Envelope(), b"x", "", "", enqueue_ns, enqueue_ns + int(lifetime_s * S))


def entry_id(ns: int) -> bytes:
    return b"%d-3" % (ns // 1_000_000)


def test_it_begins_with_the_time_of_its_host_and_goes_on_evenly() -> None:
    host = Host()
    clock = host.clock()
    host.sleep(1.5)
    assert clock.now_ns() == NOW + int(1.5 * S)
    assert clock.now_ms() == clock.now_ns() // 1_000_000


@pytest.mark.parametrize("step_s", [-3600, -30, 30, 3600])
def test_a_step_of_the_hosts_clock_changes_nothing(step_s: int) -> None:
    host = Host()
    clock = host.clock()
    host.wall += step_s * S
    host.sleep(1)
    assert clock.now_ns() == NOW + S


@pytest.mark.parametrize("apart_s", [-3600, -0.2, 0.2, 3600])
def test_it_takes_over_redis_time_where_that_is_another(apart_s: float) -> None:
    host = Host()
    clock = host.clock()
    clock.hear((NOW + int(apart_s * S)) // 1_000)
    host.sleep(2)
    assert clock.now_ns() == NOW + int(apart_s * S) + 2 * S


@pytest.mark.parametrize("late_s", [-0.05, 0.0, 0.05])
def test_an_answer_that_was_long_on_its_way_does_not_make_it_jitter(late_s: float) -> None:
    host = Host()
    clock = host.clock()
    clock.hear((NOW + int(late_s * S)) // 1_000)
    assert clock.now_ns() == NOW


@pytest.mark.parametrize("waited_s", [0.0, 0.5, 15.0])
def test_an_entry_of_a_gateway_with_the_same_time_stays_as_it_is(waited_s: float) -> None:
    one, taken_ns = entry(NOW), NOW + int(waited_s * S)
    for now_ns in (taken_ns, taken_ns + 60 * S):
        assert Host().clock().correct(one, entry_id(taken_ns), now_ns=now_ns) is one


@pytest.mark.parametrize("apart_s", [-3600, -30, 2, 3600])
def test_an_entry_of_a_gateway_with_another_time_keeps_its_lifetime(apart_s: int) -> None:
    one = Host().clock().correct(entry(NOW + apart_s * S), entry_id(NOW), now_ns=NOW)
    assert (one.enqueue_ns, one.deadline_ns) == (NOW, NOW + 20 * S)


@pytest.mark.parametrize("apart_s", [-3600, 3600])
def test_what_was_given_directly_was_sent_just_now(apart_s: int) -> None:
    one = Host().clock().correct(entry(NOW + apart_s * S), b"", now_ns=NOW)
    assert (one.enqueue_ns, one.deadline_ns) == (NOW, NOW + 20 * S)
