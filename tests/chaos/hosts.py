"""Hosts on one machine: network namespaces on a bridge, each with an address and a /dev/shm of its own.

That takes root. Without it all hosts are this one, and what needs several can't be tried.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

_BRIDGE = "penstock-br"
_NETWORK = "198.18.77"
"""From the range for tests of networks (RFC 2544), which nobody is reached by."""
_OWN_SHM = 'mount -t tmpfs -o size=256m penstock-chaos /dev/shm && exec "$@"'


class Host:
    """Where processes run; a cable leads to all others."""

    def __init__(self, name: str, address: str, *, is_apart: bool) -> None:
        self.name = name
        self.address = address
        self._is_apart = is_apart

    def command(self, words: Sequence[str]) -> list[str]:
        """What starts a program there; it becomes that program."""
        if not self._is_apart:
            return [*words]
        return ["ip", "netns", "exec", self._namespace, "sh", "-c", _OWN_SHM, "sh", *words]

    def unplug(self) -> None:
        """Let packets vanish both ways; nobody is told."""
        _run("ip", "link", "set", self._cable, "nomaster")

    def plug_in(self) -> None:
        _run("ip", "link", "set", self._cable, "master", _BRIDGE)

    def _make(self) -> None:
        _run("ip", "netns", "add", self._namespace)
        _run("ip", "link", "add", self._cable, "type", "veth", "peer", "name", "eth0", "netns", self._namespace)
        _run("ip", "-n", self._namespace, "addr", "add", f"{self.address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _run("ip", "-n", self._namespace, "link", "set", device, "up")
        self.plug_in()
        _run("ip", "link", "set", self._cable, "up")

    @property
    def _namespace(self) -> str:
        return f"penstock-{self.name}"

    @property
    def _cable(self) -> str:
        return f"pen-{self.name}"


class Network:
    """Hosts with names; ``core`` is this machine itself."""

    def __init__(self, *names: str) -> None:
        self.obstacle = _obstacle()
        self._lock: IO[str] | None = None
        is_apart = not self.obstacle
        self.core = Host("core", f"{_NETWORK}.1" if is_apart else "127.0.0.1", is_apart=False)
        self.hosts = {
            name: Host(name, f"{_NETWORK}.{number}" if is_apart else "127.0.0.1", is_apart=is_apart)
            for number, name in enumerate(names, 11)
        }

    def build(self) -> None:
        """Make it; what another run left behind is removed first.

        Raises:
            OSError: another run goes on.
        """
        if self.obstacle:
            return
        self._lock = (Path(tempfile.gettempdir()) / f"{_BRIDGE}.lock").open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._remove()
        _run("ip", "link", "add", _BRIDGE, "type", "bridge")
        _run("ip", "addr", "add", f"{self.core.address}/24", "dev", _BRIDGE)
        _run("ip", "link", "set", _BRIDGE, "up")
        for host in self.hosts.values():
            host._make()

    def remove(self) -> None:
        """Take it away; processes that still run there lose their network."""
        if self._lock is not None:
            self._remove()
            self._lock.close()
            self._lock = None

    def _remove(self) -> None:
        for host in self.hosts.values():
            _run("ip", "netns", "del", host._namespace, check=False)
            _run("ip", "link", "del", host._cable, check=False)
        _run("ip", "link", "del", _BRIDGE, check=False)


def _obstacle() -> str:
    if os.geteuid() != 0:
        return "hosts of their own take root"
    if shutil.which("ip") is None:
        return "hosts of their own take the command `ip`"
    done = subprocess.run(["unshare", "--net", "true"], check=False, capture_output=True, text=True)
    return "" if done.returncode == 0 else f"no hosts of their own: {done.stderr.strip()}"


def _run(*command: str, check: bool = True) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if check and done.returncode != 0:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
