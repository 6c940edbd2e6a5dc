"""What `penstock slo` makes of its options."""

from __future__ import annotations

import pytest

from penstock.cli.slo import _changed, describe
from penstock.registry.v1.resources_pb2 import Slo

PROMISED = Slo(availability=0.999, latency_seconds=0.2, latency_share=0.99, window_days=30)


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"latency_share": 0.95}, Slo(availability=0.999, latency_seconds=0.2, latency_share=0.95, window_days=30)),
        ({"latency_seconds": 0.0}, Slo(availability=0.999, window_days=30)),
        ({"latency_seconds": 0.0, "availability": 0.0}, Slo()),
        ({"availability": 0.0, "window_days": 7}, Slo(latency_seconds=0.2, latency_share=0.99, window_days=7)),
    ],
)
def test_what_no_option_names_stays_and_what_hangs_on_a_promise_goes_with_it(
    changes: dict[str, float], wanted: Slo
) -> None:
    assert _changed(PROMISED, changes) == wanted


def test_a_promise_is_told_in_one_line() -> None:
    assert describe(PROMISED) == "0.999 of its requests don't fail and 0.99 take at most 200.0 ms, over 30 days"
    assert describe(Slo()) == "nothing is promised"
