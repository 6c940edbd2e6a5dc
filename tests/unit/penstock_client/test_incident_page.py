"""How incidents, and what a model did lately, look on a screen."""

from __future__ import annotations

import io
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console

from penstock.cli.incidents import line, page, table
from penstock.cli.watch import Trends, plot, view
from penstock.monitor.v1 import monitor_service_pb2 as pb

INCIDENT = pb.Incident(
    name="incidents/0199",
    model="digits",
    version="3",
    phase=pb.PHASE_COMPUTE_INFER,
    signal=pb.Incident.SIGNAL_LATENCY,
    state=pb.Incident.STATE_OPEN,
    summary="Inference of digits version 3 on replica m2 became slower [since 12:00].",
    before=0.004,
    after=0.0123,
    change_time=Timestamp(seconds=1_795_000_000),
    open_time=Timestamp(seconds=1_795_000_004),
    log_evalue=20.0,
    average_run_length=1e7,
    traces=["traces/aa", "traces/bb"],
    innocent_traces=["traces/cc"],
    replica="node/m2",
    cause=pb.Incident.CAUSE_REPLICA,
    severity=pb.Incident.SEVERITY_PAGE,
    after_interval=pb.Incident.Interval(low=0.0119, high=0.0128),
)


def shown(renderable: Any) -> str:
    console = Console(file=io.StringIO(), width=160)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_page_tells_what_is_wrong_since_when_how_sure_it_is_and_who_was_hit() -> None:
    text = shown(page(INCIDENT))

    for told in (
        "open  page  Inference of digits version 3 on replica m2 became slower [since 12:00].",
        "latency of compute infer",
        "node/m2",
        "4.0 ms",
        "12.3 ms (11.9 ms to 12.8 ms at 95 %)",
        "e-value 10^8.7; by chance its detector raises one in 1e+07 observations",
    ):
        assert told in text
    assert text.index("aa") < text.index("bb") < text.index("cc")
    assert "closed" not in text


def test_what_a_rule_found_has_no_evidence_and_what_is_over_says_when() -> None:
    incident = pb.Incident()
    incident.CopyFrom(INCIDENT)
    incident.signal, incident.phase = pb.Incident.SIGNAL_NONFINITE, pb.PHASE_UNSPECIFIED
    incident.before, incident.after, incident.average_run_length = 0.0, 0.25, 0.0
    incident.state = pb.Incident.STATE_CLOSED
    incident.close_time.FromSeconds(1_795_000_100)
    incident.ClearField("after_interval")
    text = shown(page(incident))

    assert "a rule: no matter of chance" in text
    assert "25.00%" in text
    assert text.count("2026-11-18 11:08:20 UTC") == 1


OF_A_SERVICE = pb.Incident(
    name="incidents/0200",
    model="services/users[/x]",
    version="GET /users[/{id}] [/x]",
    signal=pb.Incident.SIGNAL_ERROR_RATE,
    state=pb.Incident.STATE_OPEN,
    summary="Errors of GET /users[/{id}] [/x] rose.",
    open_time=Timestamp(seconds=1_795_000_004),
)


def test_names_that_look_like_markup_are_shown_as_they_are() -> None:
    look = {"figures": [pb.ModelFigures(model="a[/x]", version="[/x]")], "pending_requests": {}, "rollouts": []}
    texts = [table([OF_A_SERVICE]), line(OF_A_SERVICE), page(OF_A_SERVICE), view({**look, "incidents": [OF_A_SERVICE]})]

    for text in map(shown, texts):
        assert "services/users[/x]" in text
        assert "GET /users[/{id}] [/x]" in text
    assert "a[/x]" in text


def test_times_without_a_date_say_whose_they_are() -> None:
    assert "11:06:44 UTC" in shown(line(OF_A_SERVICE))
    assert "SINCE (UTC)" in shown(table([OF_A_SERVICE]))


@pytest.mark.parametrize(
    ("values", "bars"), [([], ""), ([0, 0], "  "), ([0, 1, 2, 4], " ▂▄█"), ([0.001, 100], "▁█"), ([5], "█")]
)
def test_plots_show_figures_below_their_highest(values: list[float], bars: str) -> None:
    assert plot(values) == bars


def test_a_live_look_shows_those_before_it() -> None:
    trends = Trends()
    for rate in (10, 20, 40):
        figures = pb.ModelFigures(model="digits", version="3", request_rate=rate)
        seen = {"figures": [figures], "pending_requests": {}, "incidents": [], "rollouts": []}
        text = shown(trends.view(seen))

    assert "▂▄█" in text
