"""How drift looks on a screen."""

from __future__ import annotations

import io
import math

import pytest
from google.protobuf.wrappers_pb2 import DoubleValue
from rich.console import Console

from penstock.cli.drift import view
from penstock.cli.histograms import histogram
from penstock.monitor.v1 import drift_service_pb2 as pb
from penstock.monitor.v1 import monitor_service_pb2 as monitor_pb

NEEDED = math.log(1e8)


def known(value: float) -> DoubleValue:
    return DoubleValue(value=value)


def spread(distance: float) -> pb.ValueHistogram:
    return pb.ValueHistogram(
        edges=[0.5, 1.5], normal_shares=[0.5, 0.25, 0.25], now_shares=[0.0, 0.0, 1.0], distance=distance
    )


SLOW = pb.WatchedFigure(
    signal=monitor_pb.Incident.SIGNAL_LATENCY,
    phase=monitor_pb.PHASE_COMPUTE_INFER,
    state=pb.WatchedFigure.STATE_ALARMED,
    log_evalue_needed=NEEDED,
    unit="s",
    label="p99",
    normal=known(0.004),
    now=known(0.012),
)
INPUTS = pb.WatchedFigure(
    signal=monitor_pb.Incident.SIGNAL_INPUTS,
    state=pb.WatchedFigure.STATE_WATCHING,
    log_evalue=NEEDED / 2,
    log_evalue_needed=NEEDED,
    unit="1",
    label="feature 1",
    normal=known(-0.25),
    now=known(1.8),
    parts=[
        pb.FigurePart(label="feature 0", normal=0.0, now=known(0.0), histogram=spread(0.9)),
        pb.FigurePart(label="feature 1", normal=-0.25, now=known(1.8), histogram=spread(0.75)),
    ],
)
CLASSES = pb.WatchedFigure(
    signal=monitor_pb.Incident.SIGNAL_CLASS_MIX,
    state=pb.WatchedFigure.STATE_WATCHING,
    log_evalue_needed=NEEDED,
    unit="1",
    label="class 3",
    normal=known(0.1),
    now=known(0.11),
    parts=[
        pb.FigurePart(label="class 0", normal=0.9, now=known(0.89)),
        pb.FigurePart(label="class 3", normal=0.1, now=known(0.11)),
    ],
)
ENTROPY = pb.WatchedFigure(
    signal=monitor_pb.Incident.SIGNAL_ENTROPY,
    state=pb.WatchedFigure.STATE_LEARNING,
    log_evalue_needed=NEEDED,
    unit="{nat}",
    reason="33 of 60 seconds [and] 500 of 500 requests seen",
)
LENGTH = pb.WatchedFigure(
    signal=monitor_pb.Incident.SIGNAL_LENGTH,
    state=pb.WatchedFigure.STATE_BLIND,
    log_evalue_needed=NEEDED,
    unit="By",
    label="median",
    normal=known(1_500.0),
    reason="nothing came",
)
REPLICA = pb.WatchedFigure(
    signal=monitor_pb.Incident.SIGNAL_DEAD,
    state=pb.WatchedFigure.STATE_ALARMED,
    replica="digits-1@host",
    reason="it is silent while its siblings go on",
)
VERSION = pb.VersionDrift(
    model="digits", version="3", arm="canary", figures=[SLOW, REPLICA, INPUTS, CLASSES, ENTROPY, LENGTH]
)


def printed(*versions: pb.VersionDrift, width: int = 100, everything: bool = False) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(view(list(versions), everything=everything))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def row(text: str, name: str) -> str:
    """The line that begins so, with one space where there are many."""
    (line,) = [line for line in text.splitlines() if line.startswith(name)]
    return " ".join(line.split())


def test_a_version_is_summed_up() -> None:
    assert row(printed(VERSION), "digits 3") == ("digits 3 canary 2 alarmed, 1 learning, 1 blind an alarm is 10^8.0")
    assert "nothing in alarm" in printed(pb.VersionDrift(model="digits", version="3", figures=[CLASSES]))


def test_figures_are_shown_with_their_units_before_and_now() -> None:
    text = printed(VERSION)
    assert row(text, "latency of compute infer") == "latency of compute infer ████████ alarmed p99 4.0 ms 12.0 ms"
    assert row(text, "inputs  ") == "inputs ████···· 10^4.0 feature 1 -0.25 1.8"
    assert row(text, "class mix") == "class mix ········ 10^0.0 class 3 10.00% 11.00%"
    assert row(text, "dead, digits-1 ").endswith("–")


def test_what_is_not_known_says_why() -> None:
    text = printed(VERSION, width=160)
    assert "learning" in row(text, "entropy")
    assert "33 of 60 seconds [and] 500 of 500 requests seen" in row(text, "entropy")
    assert row(text, "length") == "length blind median; nothing came 1.5 kB –"


def test_what_moved_is_plotted_and_the_rest_on_request() -> None:
    text = printed(VERSION)
    assert "inputs: feature 1  75% elsewhere" in text
    assert "feature 0" not in text
    assert "classes" not in text
    everything = printed(VERSION, everything=True)
    assert "inputs: feature 0  90% elsewhere" in everything
    assert "classes" in everything
    assert "class 0 … class 3" in everything


@pytest.mark.parametrize("width", [60, 80, 200])
def test_it_fits_the_screen(width: int) -> None:
    text = printed(VERSION, width=width, everything=True)
    assert max(map(len, text.splitlines())) <= width
    assert "12.0 ms" in text


def test_both_histograms_have_one_scale() -> None:
    _, then, now = histogram("a", [0.5, 0.25, 0.25], [0.0, 0.0, 1.0], ends=("0", "1"), distance=0.75)
    assert "▅▅▃▃▃▃" in then or "▄▄▂▂▂▂" in then
    assert "    ██" in now


def test_without_anything_now_there_is_one_histogram() -> None:
    title, then, now = histogram("a", [0.5, 0.5], [], ends=("0", "1"), distance=0.0)
    assert "████" in then
    assert "nothing came" in now
    assert "elsewhere" not in title


def test_no_versions_are_no_table() -> None:
    assert printed().startswith("Nothing is watched")
