"""Several of each part as processes of their own, which find each other through Consul and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from penstock import Client
from tests.support.consul import ConsulServer
from tests.support.front import FRONT
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer

NOWHERE = "127.0.0.1:9"
"""Nobody listens there, but everybody starts with an address."""
_PORTS = {
    "gateway": ("HTTP_PORT", "GRPC_PORT", "METRICS_PORT", "INTERNAL_PORT"),
    "inference": ("PORT", "METRICS_PORT"),
    "registry": ("PORT", "METRICS_PORT"),
    "monitor": ("OTLP_PORT", "OTLP_HTTP_PORT", "PORT", "METRICS_PORT"),
}


class Part:
    """One process, and what it was told."""

    def __init__(self, name: str, number: int, environ: dict[str, str]) -> None:
        self.name = name
        own = f"PENSTOCK_{name.upper()}__"
        self.ports = {purpose: free_port() for purpose in _PORTS[name]}
        self._environ = {**environ, **{f"{own}{purpose}": str(port) for purpose, port in self.ports.items()}}
        if name == "inference":
            self._environ |= {f"{own}NODE": f"node-{number}", f"{own}OPTIMIZATION": "off"}
        self._environ["PENSTOCK_HOME"] = f"{environ['PENSTOCK_HOME']}/{name}-{number}"
        self.process = self.start()

    @property
    def address(self) -> str:
        """Of its gRPC API."""
        return f"127.0.0.1:{self.ports.get('GRPC_PORT') or self.ports['PORT']}"

    def start(self) -> subprocess.Popen[bytes]:
        folder = Path(self._environ["PENSTOCK_HOME"])
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", f"services.{self.name}"],
                env=self._environ,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        return self.process

    def log(self) -> str:
        return Path(self._environ["PENSTOCK_HOME"], "log").read_text()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Ask it to end; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


class Fleet:
    """Starts Redis, Consul, and so many of each part as asked for, by name."""

    def __init__(self, **counts: int) -> None:
        self.consul, self.redis = ConsulServer(), RedisServer()
        self._folder = tempfile.TemporaryDirectory(prefix="penstock-fleet-")
        self._counts = counts
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PENSTOCK_", "CONSUL_"))},
            "PENSTOCK_HOME": self._folder.name,
            "PENSTOCK_REDIS_URL": self.redis.url,
            "PENSTOCK_REGISTRY__DATABASE_URL": f"sqlite:///{self._folder.name}/registry.db",
            "PENSTOCK_REGISTRY_ADDRESS": NOWHERE,
            "PENSTOCK_OTLP_ENDPOINT": NOWHERE,
            "CONSUL_HTTP_ADDR": self.consul.address,
            **FRONT,
        }
        self.parts: dict[str, list[Part]] = {}

    def healthy(self) -> dict[str, int]:
        """How many of each part Consul holds for healthy."""
        return {name: len(self.consul.healthy(f"penstock-{name}")) for name in self._counts}

    def client(self) -> Client:
        """It knows where registry and gateways are, as a user would say."""
        return Client(
            registry=",".join(part.address for part in self.parts["registry"]),
            gateway=",".join(part.address for part in self.parts["gateway"]),
        )

    def wait_until_healthy(self, *, within: float = 150.0) -> None:
        """Wait until Consul holds all that run for healthy."""
        deadline = time.monotonic() + within
        while self.healthy() != {
            name: sum(part.process.poll() is None for part in parts) for name, parts in self.parts.items()
        }:
            assert time.monotonic() < deadline, f"{self.healthy()}\n{self._logs()}"
            time.sleep(0.05)

    def _logs(self) -> str:
        return "\n".join(part.log() for parts in self.parts.values() for part in parts)

    def __enter__(self) -> Self:
        self.redis.start()
        self.consul.start()
        for name, count in self._counts.items():
            self.parts[name] = [Part(name, number, self.environ) for number in range(count)]
        try:
            self.wait_until_healthy()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        running = [part for parts in reversed(self.parts.values()) for part in parts if part.process.poll() is None]
        left = [child for part in running for child in psutil.Process(part.process.pid).children(recursive=True)]
        for part in running:
            part.process.send_signal(signal.SIGTERM)
        for part in running:
            try:
                part.process.wait(20)
            except subprocess.TimeoutExpired:
                part.kill()
        for process in left:
            if process.is_running():
                process.kill()
        self.consul.__exit__(None, None, None)
        self.redis.__exit__(None, None, None)
        self._folder.cleanup()
