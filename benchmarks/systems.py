"""The servers that are measured: each starts in a folder of its own, on free ports, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import grpc
import psutil
from tritonclient.grpc import service_pb2 as oip

from benchmarks.processes import Parts, family_of
from benchmarks.server_process import ServerProcess, StartError, free_ports
from benchmarks.wire import Api, GrpcV2, RestV2
from benchmarks.workloads import Workload
from penstock.client import Client
from penstock.endpoints import PORTS
from penstock.errors import PenstockError
from penstock.serving import Serving


@dataclass(frozen=True, slots=True)
class Counts:
    """A model's counters, as ModelStatistics tells them."""

    success: int
    failure: int
    rows: int
    executions: int

    @classmethod
    def ask(cls, address: str, model: str, version: str = "") -> Counts:
        """Those of one version, or of all together."""
        request = oip.ModelStatisticsRequest(name=model, version=version).SerializeToString()
        with grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            answer = channel.unary_unary("/inference.GRPCInferenceService/ModelStatistics")(request, timeout=10)
        versions = oip.ModelStatisticsResponse.FromString(answer).model_stats
        return cls(
            success=sum(one.inference_stats.success.count for one in versions),
            failure=sum(one.inference_stats.fail.count for one in versions),
            rows=sum(one.inference_count for one in versions),
            executions=sum(one.execution_count for one in versions),
        )

    def __sub__(self, before: Counts) -> Counts:
        return Counts(*(getattr(self, name) - getattr(before, name) for name in self.__slots__))


class System(Protocol):
    """A server that a client's requests can be sent to."""

    title: str

    def api(self, workload: Workload) -> Api:
        """How it is asked."""
        ...

    def parts(self, workload: Workload) -> Parts:
        """The processes that a request for this workload passes through, and the rest of the system."""
        ...

    def counts(self, workload: Workload) -> Counts | None:
        """What it counted so far; None where it doesn't tell."""
        ...


class EchoSystem:
    """The bare ``grpc.aio`` server of :mod:`benchmarks.echo`."""

    title = "bare grpc.aio echo"

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

    def api(self, workload: Workload) -> Api:
        return GrpcV2(self.address, workload)

    def parts(self, workload: Workload) -> Parts:  # noqa: ARG002 - the same for each
        return {"server": [psutil.Process(self._server.pid)]}

    def counts(self, workload: Workload) -> Counts | None:  # noqa: ARG002 - it counts nothing
        return None


class PenstockSystem:
    """``penstock up`` with its defaults; only ports and home are ours, and what ``settings`` changes.

    Args:
        settings: environment variables, most without their prefix ``PENSTOCK_``.
        home: a folder to use again, with what is deployed in it; a new one if None.
        serving: models that must take requests before it counts as started.
    """

    def __init__(
        self,
        *,
        title: str = "Penstock",
        settings: Mapping[str, str] | None = None,
        home: Path | None = None,
        serving: Sequence[str] = (),
    ) -> None:
        self.title = title
        self.startup_s = 0.0
        self._serving = serving
        self._home = home
        numbers = dict(zip([port.variable for port in PORTS], free_ports(len(PORTS)), strict=True))
        self._address = f"127.0.0.1:{numbers['PENSTOCK_GATEWAY__GRPC_PORT']}"
        self.rest_address = f"127.0.0.1:{numbers['PENSTOCK_GATEWAY__HTTP_PORT']}"
        self.metrics_address = f"127.0.0.1:{numbers['PENSTOCK_GATEWAY__METRICS_PORT']}"
        registry = f"127.0.0.1:{numbers['PENSTOCK_REGISTRY__PORT']}"
        self._environ = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
        self._environ |= {name: str(number) for name, number in numbers.items()}
        self._environ |= {
            "PENSTOCK_REGISTRY_ADDRESS": registry,
            "PENSTOCK_OTLP_ENDPOINT": f"127.0.0.1:{numbers['PENSTOCK_MONITOR__OTLP_PORT']}",
            **(settings or {}),
        }
        self.client = Client(registry=registry, gateway=self._address)
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            new = opening.enter_context(tempfile.TemporaryDirectory(prefix="penstock-bench-"))
            self._home = self._home or Path(new)
            self._environ["PENSTOCK_HOME"] = str(self._home)
            begin = time.monotonic()
            self._server = opening.enter_context(
                ServerProcess(
                    [sys.executable, "-m", "penstock", "up", "--json"], environ=self._environ, log=self._home / "up.log"
                )
            )
            opening.callback(self.client.close)
            self._server.wait_until(self._is_ready)
            self.wait_until_serving(self._serving)
            self.startup_s = time.monotonic() - begin
            self._open = opening.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.close()

    def _is_ready(self) -> bool:
        return '"all_ready"' in self._server.last_words()

    def deploy(
        self,
        workload: Workload,
        *,
        name: str | None = None,
        serving: Serving | None = None,
        is_optimized: bool = False,
        is_beside: bool = False,
        wait: bool = True,
    ) -> None:
        """Deploy a model, and wait until it serves; ``is_optimized`` as it comes, once the search for variants is over.

        With ``is_beside`` the version that served before stays loaded.

        Raises:
            StartError: it doesn't.
        """
        assert self._home is not None
        path = self._home / f"{name or workload.name}{workload.suffix}"
        workload.save(path)
        serving = replace(serving or Serving(), optimize="fast" if is_optimized else "off")
        try:
            files = self.client.upload(path)
            version = self.client.create_version(name or workload.name, files, is_trusted=True)
            version = self.client.wait_validated(version.name)
            self.client.deploy(name or workload.name, version.name, serving=serving, keep_previous=is_beside, wait=wait)
            if is_optimized:
                self._server.wait_until(lambda: self._is_optimized(name or workload.name, version.name), within_s=600)
                self._wait_until_settled()
        except PenstockError as error:
            raise StartError(f"{workload.name} is not deployed: {error}\n{self._server.last_words()}") from None

    def _wait_until_settled(self) -> None:
        """Wait until no process has come or gone for two seconds: those that were replaced drain for a while."""
        pids, since = set[int](), 0.0
        while time.monotonic() - since < 2:
            if (found := {one.pid for one in self.processes()}) != pids:
                pids, since = found, time.monotonic()
            time.sleep(0.1)

    def _is_optimized(self, model: str, version: str) -> bool:
        """Whether the search is over, and all that serves is loaded as it found best."""
        over = [one for one in self.client.version(version).optimizations if one.state > one.STATE_SEARCHING]
        instances = self.client.deployment(model).instances
        return bool(over) and all(
            one.state == one.STATE_READY and dict(one.variant) == dict(over[0].variant) for one in instances
        )

    def wait_until(self, is_so: Callable[[], bool], *, within_s: float) -> None:
        """Wait until something is so.

        Raises:
            StartError: it is not in time, or the suite has ended.
        """
        self._server.wait_until(is_so, within_s=within_s)

    def scale(self, workload: Workload, replicas: int) -> None:
        """Give a model so many processes, and wait until they are ready."""
        version = self.client.deployment(workload.name).versions[-1]
        self.client.deploy(workload.name, version, serving=Serving(replicas=replicas))
        self._server.wait_until(lambda: len(self._ready_pids(workload)) == replicas)

    def wait_until_serving(self, models: Iterable[str]) -> None:
        """Wait until each of these models takes requests."""
        for model in models:
            self._server.wait_until(lambda model=model: self.client.is_ready(model))

    def _ready_pids(self, workload: Workload) -> set[int]:
        instances = self.client.deployment(workload.name).instances
        return {one.pid for one in instances if one.state == one.STATE_READY}

    def api(self, workload: Workload) -> Api:
        return GrpcV2(self._address, workload)

    def parts(self, workload: Workload, *, is_deployed: bool = True) -> Parts:
        model_pids = self._ready_pids(workload) if is_deployed else set()
        parts: dict[str, list[psutil.Process]] = {"gateway": [], "redis": [], "model": [], "monitor": [], "rest": []}
        for process in family_of(self._server.pid):
            parts["model" if process.pid in model_pids else _part_of(process)].append(process)
        return parts

    def processes(self) -> list[psutil.Process]:
        return family_of(self._server.pid)

    def counts(self, workload: Workload, *, version: str = "") -> Counts | None:
        return Counts.ask(self._address, workload.name, version)


class Titled:
    """The same suite under another title, for another of its models."""

    def __init__(self, suite: PenstockSystem, title: str) -> None:
        self.title = title
        self._suite = suite

    def api(self, workload: Workload) -> Api:
        return self._suite.api(workload)

    def parts(self, workload: Workload) -> Parts:
        return self._suite.parts(workload)

    def counts(self, workload: Workload) -> Counts | None:
        return self._suite.counts(workload)


class RestSystem(Titled):
    """The same suite, asked by REST."""

    def __init__(self, suite: PenstockSystem, *, is_binary: bool) -> None:
        super().__init__(suite, f"{suite.title}, REST {'binary' if is_binary else 'JSON'}")
        self._is_binary = is_binary

    def api(self, workload: Workload) -> Api:
        return RestV2(self._suite.rest_address, workload, is_binary=self._is_binary)


def _part_of(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        command = " ".join(process.cmdline())
        named = {"redis-server": "redis", "services.gateway": "gateway", "services.monitor": "monitor"}
        return next((part for name, part in named.items() if name in command), "rest")
    return "rest"
