"""How golden probes look on a screen."""

from __future__ import annotations

import io

from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console

from penstock.cli.probe import table
from penstock.monitor.v1 import monitor_service_pb2 as pb


def shown(*probes: pb.ReplicaProbe, width: int) -> str:
    file = io.StringIO()
    Console(file=file, width=width).print(table(list(probes)))
    return file.getvalue()


PASSED = pb.ReplicaProbe(
    model="digits",
    version="3",
    replica="node.digits.3.0@life.a1b2c3",
    outcome=pb.ReplicaProbe.OUTCOME_PASS,
    device="cpu",
    weights_sha256="0123456789abcdef" * 4,
    probe_time=Timestamp(seconds=1_795_000_000),
)
FAILED = pb.ReplicaProbe(
    model="digits",
    version="3",
    replica="node.digits.3.1@life.d4e5f6",
    outcome=pb.ReplicaProbe.OUTCOME_FAIL,
    device="cuda:0",
    worst_error=0.321,
    detail="answers [bold]otherwise",
    probe_time=Timestamp(seconds=1_795_000_001),
)


def test_each_replica_has_a_line() -> None:
    heading, first, second = shown(PASSED, FAILED, width=160).splitlines()

    assert heading.split() == ["MODEL", "VERSION", "REPLICA", "DEVICE", "PROBE", "WORST", "WEIGHTS", "AT", "(UTC)"]
    assert first.split() == ["digits", "3", "node.digits.3.0", "cpu", "pass", "0", "0123456789ab", "11:06:40"]
    assert second.split()[3:7] == ["cuda:0", "fail", "3.2e-01", "–"]
    assert "answers [bold]otherwise" in second


def test_it_fits_a_small_screen() -> None:
    text = shown(PASSED, FAILED, width=60)

    assert max(map(len, text.splitlines())) <= 60
    assert "node.digits.3.1" in text
