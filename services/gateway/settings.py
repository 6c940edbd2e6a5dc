"""What the gateway is told by the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.common.memory import memory_bytes


class GatewaySettings(BaseSettings):
    """Settings of the gateway (``PENSTOCK_GATEWAY__…``)."""

    model_config = SettingsConfigDict(
        env_prefix="PENSTOCK_GATEWAY__", frozen=True, extra="ignore", use_attribute_docstrings=True
    )

    front: Literal["native", "grpcio"] = "native"
    """What serves gRPC: `native`, an HTTP/2 server on the gateway's own event loop, or `grpcio`, which is slower."""
    processes: Annotated[int, Field(ge=1, le=64)] | Literal["auto"] = 1
    """Gateway processes that share the public ports (Linux); `auto`: one for every four cores."""
    tls_certificate: Path | None = None
    """PEM file with the certificate, and those up to its authority, for REST and gRPC; unset: no TLS."""
    tls_key: Path | None = None
    """PEM file with the private key of `tls_certificate`, without a password."""
    tls_client_ca: Path | None = None
    """PEM file with authorities; only clients with a certificate of theirs are served. Unset: all are."""
    http_port: int = Field(default=8000, ge=0, le=65535)
    """Port of the REST API; 0 takes a free one."""
    grpc_port: int = Field(default=8001, ge=0, le=65535)
    """Port of the gRPC inference API; 0 takes a free one."""
    metrics_port: int = Field(default=8002, ge=0, le=65535)
    """Port of `/metrics`."""
    internal_port: int = Field(default=8003, ge=0, le=65535)
    """Port that model processes send replies to and fetch large requests from; 0, or several processes: free ones."""
    reply_host: str | None = None
    """Host name under which model processes reach `internal_port`. Unset: as `PENSTOCK_ADVERTISE_HOST`."""
    cors_origins: tuple[str, ...] = ()
    """Origins of web pages that may call REST and gRPC-Web, for example `["https://example.org"]`; `["*"]`: all."""
    recovery_grace_s: float = Field(default=10.0, ge=0)
    """How long, in seconds, requests are still taken for a model version that has no live process."""
    drain_timeout_s: float = Field(default=10.0, ge=0)
    """How long, in seconds, requests may take to finish once the gateway was asked to stop."""
    inline_limit_bytes: int = Field(default=256 * 1024, ge=0)
    """Requests larger than this stay in the gateway, and model processes read them there."""
    max_request_bytes: int = Field(default=2**31 - 1, ge=1, le=2**31 - 1)
    """Largest request to take, in bytes, after decompression."""
    max_pending_bytes: int | None = Field(default=None, ge=1)
    """Most bytes that all requests under way may take; more are refused. Unset: a quarter of the memory there is."""
    max_traces_per_second: int = Field(default=5, ge=0)
    """Most requests to sample in a second by `PENSTOCK_TRACE_SAMPLE_RATIO`; those that arrive sampled always are."""
    max_error_spans_per_second: int = Field(default=200, ge=1)
    """Spans of failed requests to export in a second; those above it are merged into one span for each kind."""

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("got one of tls_certificate and tls_key, expected both or none")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise ValueError("got tls_client_ca without tls_certificate and tls_key")
        return self

    @property
    def pending_bytes_of_a_process(self) -> int:
        """The share of `max_pending_bytes` that one process may use."""
        return max(1, (self.max_pending_bytes or memory_bytes() // 4) // self.process_count)

    @property
    def process_count(self) -> int:
        """How many processes the gateway consists of."""
        return max(1, (os.cpu_count() or 1) // 4) if self.processes == "auto" else self.processes


def environment_with(changes: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with changes, for those that it starts."""
    return {**os.environ, **changes}


def passed_descriptors() -> dict[str, int]:
    """File descriptors that whoever started this process passed on, by name, as sd_listen_fds(3) says."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return {}
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    count = int(os.environ.get("LISTEN_FDS", "0"))
    return {name: 3 + at for at, name in enumerate(names[:count])}
