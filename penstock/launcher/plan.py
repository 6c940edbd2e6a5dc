"""What is to be started, and whether it can be: settings, home folder, ports, Redis' socket."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import socket
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import quote

from penstock.endpoints import CLIENT_VARIABLES, GATEWAY_TLS_CERTIFICATE, MONITOR_OTLP, PORTS, Endpoints, local_host
from penstock.launcher import parts
from penstock.launcher.parts import Part, StartError
from services.common.settings import load_suite

_SOCKET_PATH_LIMIT = 107
"""Most bytes in the path of a unix socket on Linux; macOS takes 103."""


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
        "PENSTOCK_MONITOR_ADDRESS": endpoints.monitor,
        "PENSTOCK_OTLP_ENDPOINT": otlp,
        "PENSTOCK_REDIS_URL": f"unix://{quote(str(socket_path))}",
        **local,
        "PENSTOCK_HOME": str(home),
        "PENSTOCK_LOG_FORMAT": "ecs",  # the supervisor reads what services write
    }
    made = (
        *(() if suite.redis_url else (parts.redis(socket_path),)),
        parts.registry(suite.bind, local),
        parts.monitor(suite.bind, local),
        parts.inference(suite.bind, local),
        parts.gateway(suite.bind, endpoints, local),
    )
    return Plan(home, endpoints, child_environ, made)


def redis_socket(home: Path) -> Path:
    """Where the embedded Redis listens."""
    return _socket_path(home, "redis")


def control_socket(home: Path) -> Path:
    """Where the launcher takes commands."""
    return _socket_path(home, "control")


def _socket_path(home: Path, name: str) -> Path:
    """A path below ``home``, or elsewhere if that one is too long for a socket."""
    path = home / f"{name}.sock"
    if len(os.fsencode(path)) <= _SOCKET_PATH_LIMIT - 4:
        return path
    file = f"{hashlib.sha256(os.fsencode(home)).hexdigest()[:16]}-{name}.sock"
    for runtime in filter(None, (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir())):
        path = Path(runtime, f"penstock-{os.getuid()}", file)
        if len(os.fsencode(path)) <= _SOCKET_PATH_LIMIT - 4:
            break
    return path


def lock_home(home: Path) -> IO[str]:
    """Make the home folder and take it for this process; closing the file gives it back.

    Raises:
        StartError: another suite has it, or it can't be written to.
    """
    try:
        sockets = control_socket(home).parent  # where Redis' is, or is as well
        for folder in (home, home / "logs", redis_socket(home).parent, sockets):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if sockets.stat().st_uid != os.getuid():
            raise StartError(f"{sockets} belongs to somebody else: choose a shorter PENSTOCK_HOME")
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
