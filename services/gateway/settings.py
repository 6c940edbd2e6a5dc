"""What the gateway is told by the environment."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class GatewaySettings(BaseSettings):
    """Settings of the gateway (``PENSTOCK_GATEWAY__…``)."""

    model_config = SettingsConfigDict(
        env_prefix="PENSTOCK_GATEWAY__", frozen=True, extra="ignore", use_attribute_docstrings=True
    )

    front: Literal["native", "grpcio"] = "grpcio"
    """What serves gRPC: `native`, an HTTP/2 server on the gateway's own event loop, or `grpcio`, which is slower."""
    http_port: int = Field(default=8000, ge=0, le=65535)
    """Port of the REST API; 0 takes a free one."""
    grpc_port: int = Field(default=8001, ge=0, le=65535)
    """Port of the gRPC inference API; 0 takes a free one."""
    metrics_port: int = Field(default=8002, ge=0, le=65535)
    """Port of `/metrics`."""
    internal_port: int = Field(default=8003, ge=0, le=65535)
    """Port that model processes send replies to and fetch large requests from; 0 takes a free one."""
    reply_host: str | None = None
    """Host name under which model processes reach `internal_port`. Unset: the address that servers listen on."""
    recovery_grace_s: float = Field(default=10.0, ge=0)
    """How long, in seconds, requests are still taken for a model version that has no live process."""
    drain_timeout_s: float = Field(default=10.0, ge=0)
    """How long, in seconds, requests may take to finish once the gateway was asked to stop."""
    inline_limit_bytes: int = Field(default=256 * 1024, ge=0)
    """Requests larger than this stay in the gateway, and model processes fetch them."""
    max_request_bytes: int = Field(default=2**31 - 1, ge=1, le=2**31 - 1)
    """Largest request to take, in bytes, after decompression."""
    max_error_spans_per_second: int = Field(default=200, ge=1)
    """Spans of failed requests to export in a second; those above it are merged into one span for each kind."""
