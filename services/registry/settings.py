"""What the registry is told by the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


def _targets(text: str) -> str:
    for one in filter(None, map(str.strip, text.split(","))):
        kind, _, where = one.partition(":")
        if kind not in ("mlflow", "tensorboard") or not where:
            raise ValueError(f"got {one!r}, expected mlflow:URI or tensorboard:PATH")
    return text


class RegistrySettings(BaseSettings):
    """Settings of the registry (``PENSTOCK_REGISTRY__…``)."""

    model_config = SettingsConfigDict(
        env_prefix="PENSTOCK_REGISTRY__", frozen=True, extra="ignore", use_attribute_docstrings=True
    )

    port: int = Field(default=8021, ge=0, le=65535)
    """Port of the gRPC API."""
    metrics_port: int = Field(default=8022, ge=0, le=65535)
    """Port of `/metrics`."""
    database_url: SecretStr | None = None
    """Database, `sqlite:///PATH` or `postgresql://USER:PASSWORD@HOST/NAME`. Unset: `registry.db` below `home`."""
    artifacts: str = ""
    """Where content is kept: a folder, `s3://BUCKET/PREFIX` or `gs://BUCKET/PREFIX`; unset: `artifacts` in `home`."""
    garbage_grace_s: float = Field(default=86_400, ge=60)
    """How long content that no version names, and uploads that nobody goes on with, are kept, in seconds."""
    webhook_port: int = Field(default=0, ge=0, le=65535)
    """Port where MLflow's webhooks are taken, at `/v1/webhooks/mlflow`: they have sources looked at before it is their
    turn. 0: none."""
    webhook_secret: SecretStr | None = None
    """The secret by which MLflow signs its webhooks. Needed where they are taken."""
    records: Annotated[str, AfterValidator(_targets)] = ""
    """Where results of versions and rollouts are written when a rollout has ended: MLflow's tracking URI as
    `mlflow:URI`, or a folder for TensorBoard as `tensorboard:PATH`; of several, with commas between. Empty: nowhere."""
    change_log_length: int = Field(default=10_000, ge=100)
    """How many changes are kept for followers to resume from; who was away for longer gets a snapshot."""

    @property
    def record_targets(self) -> list[str]:
        """Where records are written, each as "mlflow:URI" or "tensorboard:PATH"."""
        return [one.strip() for one in self.records.split(",") if one.strip()]

    @property
    def effective_webhook_secret(self) -> str:
        """Raises: ValueError: there is none, though webhooks are to be taken."""
        secret = self.webhook_secret.get_secret_value() if self.webhook_secret else ""
        if not secret:
            raise ValueError("PENSTOCK_REGISTRY__WEBHOOK_SECRET: is not set, expected one beside the webhooks' port")
        return secret

    def effective_database_url(self, home: Path) -> str:
        """The database to use: the one given, or a file below ``home``."""
        return self.database_url.get_secret_value() if self.database_url else f"sqlite:///{home.absolute()}/registry.db"
