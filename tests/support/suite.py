"""The whole suite as a user starts it: ``penstock up`` on free ports, in a folder of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import psutil

from penstock.monitor.v1.monitor_service_pb2_grpc import MonitorServiceStub
from penstock.registry.v1 import registry_service_pb2 as registry_pb
from penstock.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from tests.support import commands
from tests.support.front import FRONT
from tests.support.ports import free_port


class Suite:
    """Starts ``penstock up``, and lets a test hurt its parts by name."""

    def __init__(self, **settings: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="penstock-e2e-")
        self.home = Path(self._folder.name)
        self.grpc_address, self.http_address, self.metrics_address = (f"127.0.0.1:{free_port()}" for _ in range(3))
        self.registry_address, self.monitor_address, otlp = (f"127.0.0.1:{free_port()}" for _ in range(3))
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")},
            "PENSTOCK_HOME": str(self.home),
            "PENSTOCK_REGISTRY_ADDRESS": self.registry_address,
            "PENSTOCK_OTLP_ENDPOINT": otlp,
            "PENSTOCK_GATEWAY__HTTP_PORT": self.http_address.split(":")[1],
            "PENSTOCK_GATEWAY__GRPC_PORT": self.grpc_address.split(":")[1],
            "PENSTOCK_GATEWAY__METRICS_PORT": self.metrics_address.split(":")[1],
            "PENSTOCK_GATEWAY__INTERNAL_PORT": str(free_port()),
            **FRONT,
            "PENSTOCK_REGISTRY__PORT": self.registry_address.split(":")[1],
            "PENSTOCK_REGISTRY__METRICS_PORT": str(free_port()),
            "PENSTOCK_INFERENCE__PORT": str(free_port()),
            "PENSTOCK_INFERENCE__METRICS_PORT": str(free_port()),
            "PENSTOCK_INFERENCE__OPTIMIZATION": "off",  # no test is to wait for, or be hurt by, what it doesn't test
            "PENSTOCK_MONITOR__OTLP_PORT": otlp.split(":")[1],
            "PENSTOCK_MONITOR__OTLP_HTTP_PORT": str(free_port()),
            "PENSTOCK_MONITOR__PORT": self.monitor_address.split(":")[1],
            "PENSTOCK_MONITOR__METRICS_PORT": str(free_port()),
            **settings,
        }
        self._log = self.home / "up.log"
        self._launcher: subprocess.Popen[bytes] | None = None
        self._channels: list[grpc.Channel] = []

    def start(self) -> None:
        """Start it and wait until every service says SERVING."""
        with self._log.open("ab") as log:
            said_before = log.tell()
            self._launcher = subprocess.Popen(
                [sys.executable, "-m", "penstock", "up"],
                env=self.environ, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        wait_until(lambda: self._running() and b"Penstock is up" in self._log.read_bytes()[said_before:], within=60)

    def _running(self) -> bool:
        assert self._launcher is not None
        assert self._launcher.poll() is None, f"penstock up ended:\n{self._log.read_text()}"
        return True

    def stop(self) -> int:
        """Interrupt it as Ctrl-C does; return its exit status."""
        if self._launcher is None:
            return 0
        for channel in self._channels:
            channel.close()
        self._channels.clear()
        self._launcher.send_signal(signal.SIGINT)
        status = self._launcher.wait(timeout=40)
        self._launcher = None
        return status

    def command(self, *arguments: str, check: bool = True, timeout_s: float = 120) -> Any:
        """Run ``penstock … --json``; return what it printed, parsed."""
        done = commands.run(self.environ, *arguments, "--json", timeout_s=timeout_s)
        if check:
            said = f"penstock {' '.join(arguments)}: {done.stdout}{done.stderr}"
            assert done.returncode == 0, f"{said}\n{self._log.read_text()[-4000:]}"
        return json.loads(done.stdout) if done.stdout.strip() else {}

    def command_text(self, *arguments: str) -> str:
        """Run a command of ``penstock`` that has no ``--json``; return what it printed."""
        done = commands.run(self.environ, *arguments)
        assert done.returncode == 0, f"{done.stdout}{done.stderr}{self._log.read_text()}"
        return done.stdout

    def restart(self, *arguments: str) -> None:
        """Run ``penstock restart``."""
        self.command_text("restart", *arguments)

    @property
    def registry(self) -> RegistryServiceStub:
        return RegistryServiceStub(self._channel(self.registry_address))

    @property
    def monitor(self) -> MonitorServiceStub:
        return MonitorServiceStub(self._channel(self.monitor_address))

    def _channel(self, address: str) -> grpc.Channel:
        channel = grpc.insecure_channel(address)
        self._channels.append(channel)
        return channel

    def processes(self) -> list[psutil.Process]:
        """The launcher's descendants."""
        assert self._launcher is not None
        return psutil.Process(self._launcher.pid).children(recursive=True)

    def pid_of(self, part: str) -> int:
        """The process of "redis", "registry", "monitor", "gateway" or "inference" (the agent)."""
        wanted = "redis-server" if part == "redis" else f"services.{part}"
        for process in self.processes():
            command = process.cmdline()
            if any(word == wanted or word.split(" ")[0].endswith(wanted) for word in command):
                return process.pid
        raise AssertionError(f"no process of {part} in {[process.cmdline() for process in self.processes()]}")

    def model_pids(self, model: str) -> list[int]:
        """The model's processes, as the registry knows them."""
        answer = self.registry.GetDeployment(registry_pb.GetDeploymentRequest(name=f"deployments/{model}"))
        return [instance.pid for instance in answer.deployment.instances if instance.pid]

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._launcher is not None:
            descendants = self.processes() if self._launcher.poll() is None else []
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                for process in [psutil.Process(self._launcher.pid), *descendants]:
                    if process.is_running():
                        process.kill()
        self._folder.cleanup()


def wait_until(is_true: Callable[[], Any], *, within: float = 20.0) -> Any:
    """Ask again and again, at most ``within`` seconds; return the first true answer."""
    deadline = time.monotonic() + within
    while not (answer := is_true()):
        assert time.monotonic() < deadline, f"still not true after {within} s"
        time.sleep(0.05)
    return answer
