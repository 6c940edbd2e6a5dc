"""What the monitor is told by the environment (``PENSTOCK_MONITOR__…``)."""

from __future__ import annotations

import re

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class MonitorSettings(BaseSettings):
    """Settings of the monitor."""

    model_config = SettingsConfigDict(
        env_prefix="PENSTOCK_MONITOR__", frozen=True, extra="ignore", use_attribute_docstrings=True
    )

    otlp_port: int = Field(default=4317, ge=0, le=65_535)
    """Port of the OTLP/gRPC intake."""
    otlp_http_port: int = Field(default=4318, ge=0, le=65_535)
    """Port of the OTLP/HTTP intake (`POST /v1/traces`, protobuf or JSON)."""
    port: int = Field(default=8031, ge=0, le=65_535)
    """Port of the gRPC API."""
    metrics_port: int = Field(default=8032, ge=0, le=65_535)
    """Port of `/metrics`."""
    database_url: str | None = None
    """SQLAlchemy URL of the database that keeps incidents. Unset: SQLite, `monitor.db` below `home`."""
    forward_endpoint: str = ""
    """`host:port` of an OTLP/gRPC receiver, for example Jaeger, that gets the traces worth keeping. Empty: none."""
    forward_foreign: bool = False
    """Whether spans that Penstock did not make are forwarded too, by the same choice."""
    forward_delay_s: float = Field(default=3.0, ge=0, le=60)
    """How long a trace waits for its spans before it is decided whether it is forwarded."""
    forward_traces_per_second: float = Field(default=20.0, gt=0, le=10_000)
    """Most traces that are forwarded in a second because they failed, were slow, or for contrast. Sampled ones, and
    those that show an incident, don't count."""
    forward_contrasts_per_minute: int = Field(default=5, ge=0, le=1_000)
    """Innocent traces that are forwarded of each model version, and each foreign service, to compare with."""
    ring_max_spans: int = Field(default=50_000, ge=100)
    """Most spans in the ring of recent traces."""
    ring_max_mebibytes: int = Field(default=128, ge=1)
    """Most memory for the ring of recent traces."""
    intake_max_spans: int = Field(default=65_536, ge=1)
    """Most spans that wait to be analysed; what comes while so many wait is refused and counted."""
    intake_max_mebibytes: int = Field(default=128, ge=1)
    """Most memory for spans that wait to be analysed."""
    forward_max_mebibytes: int = Field(default=32, ge=1)
    """Most memory for spans that wait to be forwarded; beyond it the oldest are dropped and counted."""
    max_series: int = Field(default=200, ge=1)
    """Most model versions with figures and detectors of their own; further ones share the series `_overflow`."""
    max_service_series: int = Field(default=200, ge=1)
    """Most operations, by replica, of services that Penstock did not make with figures and detectors of their own;
    further ones share series called `_overflow`."""
    false_alarms_per_week: float = Field(default=1.0, gt=0, le=1_000)
    """False alarms that all detectors together may raise in a week. Fewer means that true alarms come later."""
    assumed_series: int = Field(default=200, ge=1)
    """Detectors that share the budget of false alarms at least; a model version has about twelve, an operation of a
    foreign service two on each replica."""

    @field_validator("forward_endpoint")
    @classmethod
    def _is_endpoint(cls, text: str) -> str:
        if text and not re.fullmatch(r"[^\s/]+:\d{1,5}", text):
            raise ValueError(f"got {text!r}, expected host:port")
        return text
