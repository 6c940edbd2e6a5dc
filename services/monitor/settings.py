"""What the monitor is told by the environment (``PENSTOCK_MONITOR__…``)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        is_sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_sound = False
    if text and not (is_sound and text.isascii() and text.isprintable() and " " not in text):
        raise ValueError(f"got {text!r}, expected http://host[:port] or https://host[:port]")
    return text


def _api(text: str) -> str:
    """The URL may hold a password by mistake, so it isn't shown."""
    if "@" in text or "?" in text or "#" in text:
        raise ValueError("has a user, a query or a fragment, expected http://host[:port][/path]")
    return _url(text)


def _apis(text: str) -> str:
    for one in text.split(","):
        _api(one.strip())
    return text


def _trace_template(text: str) -> str:
    if text and "{trace_id}" not in text:
        raise ValueError(f"got {text!r}, expected a URL with {{trace_id}} in it")
    return _url(text)


def _header(secret: SecretStr) -> SecretStr:
    if not (secret.get_secret_value().isascii() and all(map(str.isprintable, secret.get_secret_value()))):
        raise ValueError("has characters that a header can't have")
    return secret


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
    feedback_max_predictions: int = Field(default=2_000_000, ge=1_000)
    """Most answers that are kept for labels that come later, some 100 bytes each in the database; beyond it the oldest
    give way, and are counted."""
    false_alarms_per_week: float = Field(default=1.0, gt=0, le=1_000)
    """False alarms that all detectors together may raise in a week. Fewer means that true alarms come later."""
    assumed_series: int = Field(default=200, ge=1)
    """Detectors that share the budget of false alarms at least; a model version has about twelve, an operation of a
    foreign service two on each replica."""

    policies: Path | None = None
    """File that says what the monitor does by itself when incidents open (TOML, docs/actions.md). Unset: what is built
    in."""

    alertmanager_url: Annotated[str, AfterValidator(_apis)] = ""
    """Alertmanager that incidents are pushed to as alerts, for example `http://127.0.0.1:9093`; of a cluster all of
    them, with commas between. Empty: none."""
    alertmanager_authorization: Annotated[SecretStr, AfterValidator(_header)] = SecretStr("")
    """`Authorization` header for it, for example `Basic …` or `Bearer …`. Empty: none."""
    alertmanager_resend_s: float = Field(default=60.0, ge=1, le=3_600)
    """How often alerts that go on are sent again, seconds; one that isn't for four times as long ends by itself."""
    grafana_url: Annotated[str, AfterValidator(_api)] = ""
    """Grafana that gets incidents as annotations, for example `http://127.0.0.1:3000`. Empty: none."""
    grafana_token: Annotated[SecretStr, AfterValidator(_header)] = SecretStr("")
    """Token of a service account of that Grafana which may write annotations."""
    trace_url_template: Annotated[str, AfterValidator(_trace_template)] = ""
    """Where people look at a trace, for example `http://127.0.0.1:16686/trace/{trace_id}` of Jaeger. Empty: links are
    left out."""
    incident_url_template: Annotated[str, AfterValidator(_url)] = ""
    """Where people look at an incident; `{incident_id}`, `{model}`, `{version}`, `{from_ms}` and `{to_ms}` are
    replaced. Empty: the incident dashboard of `grafana_url`, if there is one."""

    @field_validator("forward_endpoint")
    @classmethod
    def _is_endpoint(cls, text: str) -> str:
        if text and not re.fullmatch(r"[^\s/]+:\d{1,5}", text):
            raise ValueError(f"got {text!r}, expected host:port")
        return text
