"""Evidence on durations, second by second: what is learnt from, and what a restart leaves of it."""

from __future__ import annotations

import numpy as np
import pytest

from services.monitor.domain.evidence import MULTIPLIERS, QUARANTINE
from services.monitor.domain.phases import Phase, Signal
from services.monitor.domain.reference import LATENCY_LIMITS, LEVELS
from services.monitor.domain.streams import Slot, Stream


def slot(second: int, share: float) -> Slot:
    normal = np.full(len(LEVELS), 5e6)
    return Slot(second, np.full(len(LEVELS), share), LATENCY_LIMITS, normal, normal)


def restored(log_m: float, *, began: int) -> Stream:
    """After a restart in the middle of a change."""
    stream, size = Stream(LATENCY_LIMITS, threshold=18.6), len(LEVELS) * len(MULTIPLIERS)
    stream.load({**stream.dump(), "log_m": [log_m] * size, "began": [began] * size})
    return stream


def test_a_figure_without_a_second_since_the_restart_is_not_blamed() -> None:
    stream = restored(10.0, began=100)
    assert stream.log_evalue == pytest.approx(10.0)
    assert not stream.is_to_blame
    stream.observe(slot(130, 0.2))
    assert stream.is_to_blame


@pytest.mark.parametrize("began", [100, 10_000])
def test_an_alarm_right_after_a_restart_is_told_by_what_was_seen_since(began: int) -> None:
    stream = restored(18.0, began=began)
    assert stream.observe(slot(130, 1.0))
    alarm = stream.describe(Signal.LATENCY, Phase.TOTAL)
    assert alarm.change_second == min(began, 130)
    assert (alarm.before[0], alarm.after[0]) == (5e6, 5e6)


@pytest.mark.parametrize(("share", "learnt"), [(0.0, 60), (0.5, 0)])
def test_what_is_suspicious_is_not_learnt(share: float, learnt: int) -> None:
    stream = Stream(LATENCY_LIMITS, threshold=1e9)
    for second in range(QUARANTINE + 60):
        stream.observe(slot(second, share))
    assert stream.dump()["learnt"][0] == learnt
