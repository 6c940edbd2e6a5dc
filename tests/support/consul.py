"""A real Consul of one's own: killed, frozen, brought back with what it knew or without."""

from __future__ import annotations

import json
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from tests.support.ports import free_port
from tools import consul as tool


class ConsulServer:
    """One agent that is a server too. It forgets everything when it ends, unless it ``keeps_state``."""

    def __init__(self, *, keeps_state: bool = False, hcl: str = "", token: str = "") -> None:
        executable = tool.find()
        if executable is None:
            pytest.skip("there is no Consul here: put one on the PATH, or run `make consul`")
        self.address = f"127.0.0.1:{free_port()}"
        self._token = token
        self._folder = tempfile.TemporaryDirectory(prefix="penstock-consul-")
        ports = {
            "http": self.address.partition(":")[2],
            "server": free_port(),
            "serf-lan": free_port(),
            "serf-wan": -1,
            "dns": -1,
            "grpc": -1,
        }
        kind = ["-server", "-bootstrap-expect=1", f"-data-dir={self._folder.name}"] if keeps_state else ["-dev"]
        self._command = [
            *(executable, "agent", *kind, "-bind=127.0.0.1", "-client=127.0.0.1", "-log-level=warn"),
            *(f"-{name}-port={number}" for name, number in ports.items()),
            *("-hcl", f"performance {{ raft_multiplier = 1 }}\n{hcl}"),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with Path(self._folder.name, "consul.log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while not self._has_leader():
            assert self._process.poll() is None, Path(self._folder.name, "consul.log").read_text()
            assert time.monotonic() < deadline, "Consul has no leader"
            time.sleep(0.02)

    def _has_leader(self) -> bool:
        try:
            return bool(self.ask("/v1/status/leader"))
        except OSError:
            return False

    def kill(self) -> None:
        """End it as by a crash."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def ask(self, path: str) -> Any:
        """What the API answers. Raises OSError when it doesn't."""
        headers = {"X-Consul-Token": self._token} if self._token else {}
        request = urllib.request.Request(f"http://{self.address}{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.load(answer)

    def services(self) -> set[str]:
        """The ids of all that is registered, healthy or not."""
        return set(self.ask("/v1/agent/services"))

    def healthy(self, service: str) -> set[int]:
        """The ports of the instances that pass their checks."""
        return {one["Service"]["Port"] for one in self.ask(f"/v1/health/service/{service}?passing=1")}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()
        self._folder.cleanup()
