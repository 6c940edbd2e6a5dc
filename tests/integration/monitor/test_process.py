"""``python -m services.monitor`` as a process: it starts, says how it is, and stops when asked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from penstock.monitor.v1 import monitor_service_pb2 as pb
from penstock.monitor.v1.monitor_service_pb2_grpc import MonitorServiceStub
from tests.support.monitor_process import batch_span, export_request
from tests.support.ports import free_port


class Process:
    def __init__(self, home: Path, **settings: str) -> None:
        self.otlp, self.otlp_http, self.api, self.metrics = (free_port() for _ in range(4))
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")},
            "PENSTOCK_HOME": str(home),
            "PENSTOCK_MONITOR__OTLP_PORT": str(self.otlp),
            "PENSTOCK_MONITOR__OTLP_HTTP_PORT": str(self.otlp_http),
            "PENSTOCK_MONITOR__PORT": str(self.api),
            "PENSTOCK_MONITOR__METRICS_PORT": str(self.metrics),
            **settings,
        }
        self.child = subprocess.Popen(
            [sys.executable, "-m", "services.monitor"], env=self.environ, stderr=subprocess.PIPE, text=True
        )

    def wait_until_serving(self, port: int) -> None:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=20)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING

    def scrape(self) -> str:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.metrics}/metrics", headers={"Accept": "application/openmetrics-text"}
        )
        return str(urllib.request.urlopen(request).read().decode())

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Ask it to stop; return its exit status and what it wrote."""
        self.child.send_signal(number)
        _, written = self.child.communicate(timeout=15)
        return self.child.returncode, written


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    one = Process(tmp_path)
    yield one
    if one.child.poll() is None:
        one.child.kill()
        one.child.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_on_all_its_ports_and_stops_cleanly(process: Process, number: int) -> None:
    for port in (process.otlp, process.api):
        process.wait_until_serving(port)
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            names = set(ProtoReflectionDescriptorDatabase(channel).get_services())
        assert "grpc.health.v1.Health" in names
        assert names & {
            "penstock.monitor.v1.MonitorService", "opentelemetry.proto.collector.trace.v1.TraceService"
        }  # fmt: skip
    with grpc.insecure_channel(f"127.0.0.1:{process.api}") as channel:
        watch = MonitorServiceStub(channel).WatchIncidents(pb.WatchIncidentsRequest())
        watch.initial_metadata()

        status, written = process.end(number)

        with pytest.raises(grpc.RpcError) as ended:
            next(watch)
    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE  # type: ignore[attr-defined]
    assert (status, written) == (0, "")


def test_its_metrics_name_what_came_in_with_exemplars(process: Process) -> None:
    process.wait_until_serving(process.otlp)
    end_ns = 1_000_000_000
    sent = batch_span(end_ns=end_ns, status=(0, 0, 3, 14))
    with grpc.insecure_channel(f"127.0.0.1:{process.otlp}") as channel:
        TraceServiceStub(channel).Export(export_request(sent))

    while "trace_id=" not in process.scrape():  # The answer to an export doesn't wait for the analysis.
        time.sleep(0.05)
    text = process.scrape()

    samples = {
        (sample.name, *sorted(sample.labels.items())): sample
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    version = (("model", "digits"), ("version", "1"))

    def value(name: str, *labels: tuple[str, str]) -> float:
        return samples[name, *sorted(labels)].value

    assert value("penstock_monitor_spans_total", ("result", "batch")) == 1
    assert value("penstock_monitor_series") == 1
    assert [
        value("penstock_requests_total", *version, ("outcome", outcome))
        for outcome in ("ok", "client_error", "server_error")
    ] == [2, 1, 1]
    for phase in ("queue", "compute_input", "compute_infer", "compute_output", "total"):
        assert value("penstock_phase_duration_seconds_count", *version, ("phase", phase)) == 4
    buckets = [
        sample for (name, *_), sample in samples.items()
        if name == "penstock_phase_duration_seconds_bucket" and sample.labels["phase"] == "compute_infer"
    ]  # fmt: skip
    assert [(bucket.exemplar.labels["trace_id"], bucket.exemplar.value) for bucket in buckets if bucket.exemplar] == [
        (sent.trace_id.hex(), 0.005)
    ]
    assert value("penstock_incidents_open", ("model", "digits"), ("signal", "latency")) == 0
    assert value("penstock_anomaly_log_evalue", *version, ("signal", "error_rate"), ("phase", ""), ("replica", "")) == 0


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"PENSTOCK_MONITOR__PORT": "many"}, "valid integer"),
        ({"PENSTOCK_MONITOR__PROT": "8031"}, "PENSTOCK_MONITOR__PROT"),
        ({"PENSTOCK_MONITOR__FALSE_ALARMS_PER_WEEK": "0"}, "greater than 0"),
        ({"PENSTOCK_MONITOR__FORWARD_ENDPOINT": "nowhere"}, "host:port"),
        ({"PENSTOCK_MONITOR__DATABASE_URL": "nosuch://db"}, "PENSTOCK_MONITOR__DATABASE_URL"),
        ({"PENSTOCK_MONITOR__DATABASE_URL": "sqlite:////no/such/folder/monitor.db"}, "can't be used"),
    ],
)
def test_a_bad_setting_ends_it_with_one_line(tmp_path: Path, settings: dict[str, str], expected: str) -> None:
    _, written = (ended := Process(tmp_path, **settings)).child.communicate(timeout=20)

    assert ended.child.returncode == 1
    assert expected in written
    assert len(written.strip().splitlines()) == 1


@pytest.mark.parametrize("name", ["OTLP_PORT", "OTLP_HTTP_PORT", "PORT", "METRICS_PORT"])
def test_a_taken_port_ends_it_with_a_clear_line(process: Process, tmp_path: Path, name: str) -> None:
    process.wait_until_serving(process.otlp)
    taken = process.environ[f"PENSTOCK_MONITOR__{name}"]

    second = Process(tmp_path / "second", **{f"PENSTOCK_MONITOR__{name}": taken})
    _, written = second.child.communicate(timeout=20)

    assert second.child.returncode == 1
    assert taken in written.strip().splitlines()[-1]
    assert "Traceback" not in written


def test_killed_it_starts_again_on_the_same_database(tmp_path: Path) -> None:
    first = Process(tmp_path)
    first.wait_until_serving(first.api)
    first.child.kill()
    first.child.communicate()

    second = Process(tmp_path)
    second.wait_until_serving(second.api)

    assert second.end() == (0, "")
