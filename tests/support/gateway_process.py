"""The real gateway as a process of its own, on free ports."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.front import FRONT
from tests.support.ports import free_port

_GRPC_NOISE = re.compile(
    r"Traceback \(most recent call last\):\n[^\n]+_schedule_rpc_coro\nasyncio\.exceptions\.CancelledError\n"
)
"""What grpc.aio writes, once in hundreds of times, when its process ends while it hears of a call's end."""


class GatewayProcess:
    """``python -m services.gateway`` with the given settings; stops on SIGTERM at the end, and must end well."""

    def __init__(self, *, redis_url: str, registry_address: str, **settings: str) -> None:
        self.ports = {name: free_port() for name in ("HTTP", "GRPC", "METRICS", "INTERNAL")}
        self.http, self.grpc, self.metrics, self.internal = (f"127.0.0.1:{port}" for port in self.ports.values())
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")},
            **{f"PENSTOCK_GATEWAY__{name}_PORT": str(port) for name, port in self.ports.items()},
            "PENSTOCK_REDIS_URL": redis_url,
            "PENSTOCK_REGISTRY_ADDRESS": registry_address,
            "PENSTOCK_OTLP_ENDPOINT": "",
            **FRONT,
            **settings,
        }
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed at the end
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> subprocess.Popen[bytes]:
        assert self.process is not None
        return self.process

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "services.gateway"], env=self.environ, stderr=self.errors
        )

    def wait_until_serving(self, *, is_serving: bool = True, timeout_s: float = 30) -> None:
        wanted = health_pb2.HealthCheckResponse.SERVING if is_serving else health_pb2.HealthCheckResponse.NOT_SERVING
        deadline = time.monotonic() + timeout_s
        with self._channel() as channel:
            health = health_pb2_grpc.HealthStub(channel)
            while True:
                try:
                    if health.Check(health_pb2.HealthCheckRequest(), timeout=1, wait_for_ready=True).status == wanted:
                        return
                except grpc.RpcError:
                    pass
                if time.monotonic() > deadline or self.running.poll() is not None:
                    raise TimeoutError(f"the gateway did not get there:\n{self.stderr()}")
                time.sleep(0.02)

    def _channel(self) -> grpc.Channel:
        certificate = self.environ.get("PENSTOCK_GATEWAY__TLS_CERTIFICATE")
        if certificate is None:
            return grpc.insecure_channel(self.grpc)
        return grpc.secure_channel(self.grpc, grpc.ssl_channel_credentials(Path(certificate).read_bytes()))

    def stderr(self) -> str:
        self.errors.seek(0)
        return self.errors.read().decode()

    def scrape(self) -> dict[str, float]:
        """/metrics as a table from "name{labels}" to value."""
        with urllib.request.urlopen(f"http://{self.metrics}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return {key: float(value) for key, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}

    def terminate(self) -> int:
        """SIGTERM; return the exit status."""
        self.running.send_signal(signal.SIGTERM)
        return self.running.wait(15)

    def __enter__(self) -> Self:
        self.start()
        try:
            self.wait_until_serving()
        except BaseException:
            self.running.kill()
            self.running.wait()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if self.running.poll() is None:
                status = self.terminate()
                assert status == 0, f"the gateway ended with {status}:\n{self.stderr()}"
            assert "Traceback" not in _GRPC_NOISE.sub("", self.stderr()), self.stderr()
        finally:
            if self.running.poll() is None:
                self.running.kill()
                self.running.wait()
            self.errors.close()
