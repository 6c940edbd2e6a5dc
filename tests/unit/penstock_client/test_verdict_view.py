"""How a verdict looks on a screen."""

from __future__ import annotations

import io

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console, RenderableType

from penstock.cli.comparisons import table, view
from penstock.monitor.v1 import monitor_service_pb2 as monitor_pb
from penstock.monitor.v1 import verdict_service_pb2 as pb

COMPARISON = pb.Comparison(
    name="comparisons/trial",
    model="digits",
    candidate="2",
    baseline="1",
    decision=pb.DECISION_ROLL_BACK,
    reason="version 2 is worse: errors: 4.8 % against 0.1 % [of 900]",
    is_final=True,
    candidate_request_count=120,
    baseline_request_count=900,
    observed_duration=Duration(seconds=9),
    unseen_duration=Duration(seconds=40),
    restart_count=1,
    deadline_time=Timestamp(seconds=1_795_000_000),
    split=pb.SplitEvidence(is_checked=True, expected_share=0.1, seen_share=0.118, request_count=1_020),
    evidence=[
        pb.GuardrailEvidence(
            guardrail=pb.Guardrail(signal=pb.Guardrail.SIGNAL_ERROR_RATE, margin=0.01),
            key="error_rate",
            candidate_count=120,
            baseline_count=900,
            candidate=pb.EstimatedFigure(value=0.048, low=0.01, high=0.1),
            baseline=pb.EstimatedFigure(value=0.001, low=0.0, high=0.01),
            change_low=0.005,
            change_high=0.15,
            harm_log_evalue=7.0,
            harm_log_evalue_needed=6.0,
            safety_log_evalue=-1.0,
            safety_log_evalue_needed=4.6,
        ),
        pb.GuardrailEvidence(
            guardrail=pb.Guardrail(
                signal=pb.Guardrail.SIGNAL_LATENCY,
                phase=monitor_pb.PHASE_TOTAL,
                level=0.99,
                margin=0.1,
                margin_duration=Duration(nanos=5_000_000),
            ),
            key="latency.total.p99",
            candidate_count=120,
            baseline_count=900,
            candidate=pb.EstimatedFigure(value=0.0123, low=0.01, high=float("inf")),
            baseline=pb.EstimatedFigure(value=0.0118, low=0.011, high=0.0125),
            change_low=0.0,
            change_high=float("inf"),
            safety_log_evalue=2.3,
            safety_log_evalue_needed=4.6,
            harm_log_evalue_needed=6.0,
            fixed_horizon=pb.FixedHorizonTests(mann_whitney_p=0.04, kolmogorov_smirnov_p=0.5),
        ),
        pb.GuardrailEvidence(guardrail=pb.Guardrail(signal=pb.Guardrail.SIGNAL_CLASS_MIX, margin=0.1), key="class_mix"),
    ],
)


def printed(seen: RenderableType, width: int) -> str:
    screen = Console(file=io.StringIO(), width=width, highlight=False)
    screen.print(seen)
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


def shown(comparison: pb.Comparison, width: int = 120) -> str:
    return printed(view(comparison), width)


def test_the_decision_comes_first_then_why_then_the_evidence() -> None:
    text = shown(COMPARISON)
    lines = text.splitlines()
    assert lines[0] == "roll back  version 2 is worse: errors: 4.8 % against 0.1 % [of 900]"
    errors, latency, mix = (next(line for line in lines if line.startswith(name)) for name in (
        "error rate", "p99 total", "class mix"
    ))  # fmt: skip
    for part in ("4.80%", "0.10%", "+0.50 … +15.00 pp", "1 pp", "████████"):
        assert part in errors
    for part in ("12.3 ms", "11.8 ms", "? … ?", "10% or 5 ms", "████····"):
        assert part in latency
    assert "–" in mix
    assert "120 requests of version 2, 900 of version 1, in 9 s with traffic" in text
    assert "40 s unseen in 1 restarts of the monitor" in text
    assert "split: 11.8% of the requests, expected 10.0%: as it should be" in text
    assert "deciding nothing" in text
    assert "p99 total 0.04 / 0.5" in text


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_it_fits(width: int) -> None:
    assert max(map(len, shown(COMPARISON, width).splitlines())) <= width


def test_a_broken_split_is_called_broken() -> None:
    broken = pb.Comparison()
    broken.CopyFrom(COMPARISON)
    broken.split.is_broken = True
    assert "BROKEN" in shown(broken)
    broken.ClearField("split")
    assert "not checked" in shown(broken)


def test_each_comparison_has_a_line() -> None:
    going = pb.Comparison(
        name="comparisons/next",
        model="digits",
        candidate="3",
        baseline="1",
        decision=pb.DECISION_CONTINUE,
        reason="nothing is proven [yet]",
        deadline_time=Timestamp(seconds=1_795_000_000),
    )

    heading, first, second = printed(table([going, COMPARISON]), 160).splitlines()

    assert heading.split()[:5] == ["COMPARISON", "MODEL", "CANDIDATE", "BASELINE", "VERDICT"]
    assert first.split()[:7] == ["next", "digits", "3", "1", "continue", "2026-11-18", "11:06:40"]
    assert first.rstrip().endswith("nothing is proven [yet]")
    assert second.split()[:7] == ["trial", "digits", "2", "1", "roll", "back", "over"]
