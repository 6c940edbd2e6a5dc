"""What the registry is told by the environment."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


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
    change_log_length: int = Field(default=10_000, ge=100)
    """How many changes are kept for followers to resume from; who was away for longer gets a snapshot."""

    def effective_database_url(self, home: Path) -> str:
        """The database to use: the one given, or a file below ``home``."""
        return self.database_url.get_secret_value() if self.database_url else f"sqlite:///{home.absolute()}/registry.db"
