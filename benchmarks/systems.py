"""The servers that are measured: each starts in a folder of its own, on free ports, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import grpc
import psutil

from benchmarks.processes import Parts
from benchmarks.workloads import Rows, Workload
from penstock.registry.v1.registry_service_pb2 import GetDeploymentRequest
from penstock.registry.v1.registry_service_pb2_grpc import RegistryServiceStub

START_S = 60.0
PORTS = (
    "GATEWAY__GRPC_PORT",
    "GATEWAY__HTTP_PORT",
    "GATEWAY__METRICS_PORT",
    "GATEWAY__INTERNAL_PORT",
    "INFERENCE__PORT",
    "INFERENCE__METRICS_PORT",
    "REGISTRY__PORT",
    "REGISTRY__METRICS_PORT",
    "MONITOR__OTLP_PORT",
    "MONITOR__PORT",
    "MONITOR__METRICS_PORT",
)


class StartError(Exception):
    """A system did not start; the message holds its last words."""


class System(Protocol):
    """A server of the public inference API."""

    title: str
    address: str

    def parts(self, workload: Workload) -> Parts:
        """The processes that a request for this workload passes through, and the rest of the system."""
        ...

    def answers(self, workload: Workload, rows: Rows) -> tuple[str, Rows]:
        """Name and right values of the output for these inputs."""
        ...


class EchoSystem:
    """The bare ``grpc.aio`` server of :mod:`benchmarks.echo`."""

    title = "bare echo"

    def __enter__(self) -> Self:
        self._server = subprocess.Popen([sys.executable, "-m", "benchmarks.echo"], stdout=subprocess.PIPE, text=True)
        assert self._server.stdout is not None
        port = self._server.stdout.readline().strip()
        if not port:
            raise StartError("the echo server did not start")
        self.address = f"127.0.0.1:{port}"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.terminate()
        self._server.communicate()

    def parts(self, workload: Workload) -> Parts:  # noqa: ARG002 - the same for each
        return {"server": [psutil.Process(self._server.pid)]}

    def answers(self, workload: Workload, rows: Rows) -> tuple[str, Rows]:
        return workload.input_name, rows


class PenstockSystem:
    """``penstock up`` with its defaults; only ports and home are ours, and the gateway's front is asked for."""

    title = "Penstock"

    def __init__(self, *, front: str) -> None:
        ports = dict(zip(PORTS, _free_ports(len(PORTS)), strict=True))
        self.address = f"127.0.0.1:{ports['GATEWAY__GRPC_PORT']}"
        self._registry_address = f"127.0.0.1:{ports['REGISTRY__PORT']}"
        self._environ = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
        self._environ |= {f"PENSTOCK_{name}": str(port) for name, port in ports.items()}
        self._environ |= {
            "PENSTOCK_REGISTRY_ADDRESS": self._registry_address,
            "PENSTOCK_OTLP_ENDPOINT": f"127.0.0.1:{ports['MONITOR__OTLP_PORT']}",
            "PENSTOCK_GATEWAY__FRONT": front,
        }
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            self._home = Path(opening.enter_context(tempfile.TemporaryDirectory(prefix="penstock-bench-")))
            self._environ["PENSTOCK_HOME"] = str(self._home)
            log = opening.enter_context((self._home / "up.log").open("wb"))
            self._launcher = subprocess.Popen(
                [sys.executable, "-m", "penstock", "up"],
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            opening.callback(self._stop)
            self._registry = RegistryServiceStub(opening.enter_context(grpc.insecure_channel(self._registry_address)))
            self._wait_until_ready()
            self._open = opening.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.close()

    def _wait_until_ready(self) -> None:
        end = time.monotonic() + START_S
        while not self._command("status", is_required=False).get("is_ready"):
            if self._launcher.poll() is not None or time.monotonic() > end:
                raise StartError(f"`penstock up` is not ready:\n{self._last_words()}")
            time.sleep(0.2)

    def _stop(self) -> None:
        """Stop it as Ctrl-C does; what is still there after half a minute is killed."""
        if self._launcher.poll() is not None:
            return
        family = [psutil.Process(self._launcher.pid), *psutil.Process(self._launcher.pid).children(recursive=True)]
        self._launcher.send_signal(signal.SIGINT)
        try:
            self._launcher.wait(30)
        except subprocess.TimeoutExpired:
            for process in family:
                if process.is_running():
                    process.kill()
            self._launcher.wait()

    def deploy(self, workload: Workload) -> None:
        """Deploy a model and wait until it serves."""
        path = self._home / f"{workload.name}.onnx"
        workload.save(path)
        self._command("deploy", str(path), "--name", workload.name, "--wait")

    def _command(self, *arguments: str, is_required: bool = True) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "penstock", *arguments, "--json"],
            env=self._environ,
            check=False,
            capture_output=True,
            text=True,
            timeout=START_S,
        )
        if is_required and done.returncode != 0:
            raise StartError(
                f"`penstock {' '.join(arguments)}` failed:\n{done.stdout}{done.stderr}{self._last_words()}"
            )
        return json.loads(done.stdout) if done.stdout.strip() else {}

    def _last_words(self) -> str:
        return (self._home / "up.log").read_text(errors="replace")[-4_000:]

    def parts(self, workload: Workload) -> Parts:
        answer = self._registry.GetDeployment(GetDeploymentRequest(name=f"deployments/{workload.name}"), timeout=5)
        model_pids = {instance.pid for instance in answer.deployment.instances}
        parts: dict[str, list[psutil.Process]] = {"gateway": [], "redis": [], "model": [], "monitor": [], "rest": []}
        launcher = psutil.Process(self._launcher.pid)
        for process in [launcher, *launcher.children(recursive=True)]:
            parts["model" if process.pid in model_pids else _part_of(process)].append(process)
        if missing := [part for part, found in parts.items() if not found]:
            raise StartError(f"found no process of {missing}")
        return parts

    def answers(self, workload: Workload, rows: Rows) -> tuple[str, Rows]:
        return workload.output_name, workload.expected(rows)


def _part_of(process: psutil.Process) -> str:
    command = " ".join(process.cmdline())
    named = {"redis-server": "redis", "services.gateway": "gateway", "services.monitor": "monitor"}
    return next((part for name, part in named.items() if name in command), "rest")


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
