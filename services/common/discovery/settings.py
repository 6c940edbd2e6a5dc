"""What a process is told of Consul by the environment."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


@dataclass(frozen=True, slots=True)
class ConsulAddress:
    """Where Consul's HTTP API is; a ``socket_path`` stands for host and port."""

    scheme: str
    host: str
    port: int
    socket_path: str = ""

    @classmethod
    def parse(cls, text: str) -> ConsulAddress:
        """Raises ValueError for anything but "host:port", "http://…", "https://…" or "unix:///path"."""
        parts = urlsplit(text if "://" in text else f"//{text}")
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme == "unix" and not parts.netloc and len(parts.path) > 1:
            return cls("http", "localhost", 0, parts.path)
        is_bare = parts.path in ("", "/") and not re.search(r"[\s?#@]", text)
        if parts.scheme not in ("", "http", "https") or not parts.hostname or not is_bare or port == -1:
            raise ValueError(f"got {text!r}, expected host:port, http://host:port, https://host:port or unix:///path")
        usual = {"": 8500, "http": 80, "https": 443}[parts.scheme]
        return cls(parts.scheme or "http", parts.hostname, port or usual)


class ConsulSettings(BaseSettings):
    """Where Consul is, by the variables that Consul's own command reads (``CONSUL_…``)."""

    model_config = SettingsConfigDict(
        env_prefix="CONSUL_", frozen=True, extra="ignore", use_attribute_docstrings=True, env_ignore_empty=True
    )

    http_addr: str = ""
    """Consul's HTTP API: `host:port`, `http://host:port`, `https://host:port` or `unix:///path`. Services register
    there and find each other by it. Empty: addresses are those of the lists in `PENSTOCK_REGISTRY_ADDRESS`,
    `PENSTOCK_MONITOR_ADDRESS` and `PENSTOCK_OTLP_ENDPOINT`, which otherwise serve until Consul says more."""
    http_token: SecretStr = SecretStr("")
    """ACL token: `service:write` for a service's own name, `service:read` and `node:read` for the others'."""
    http_token_file: Path | None = None
    """File with the token, where `CONSUL_HTTP_TOKEN` has none."""
    http_ssl: bool = False
    """Whether to use HTTPS where `CONSUL_HTTP_ADDR` names no scheme."""
    http_ssl_verify: bool = True
    """Whether Consul's certificate is checked."""
    cacert: Path | None = None
    """PEM file with the authorities that Consul's certificate may be of. Unset: those of the system."""
    capath: Path | None = None
    """Folder of such files."""
    client_cert: Path | None = None
    """PEM file with a certificate to show to Consul."""
    client_key: Path | None = None
    """PEM file with its private key."""
    tls_server_name: str = ""
    """Name in Consul's certificate, where that isn't in its address."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.http_addr:
            try:
                ConsulAddress.parse(self.http_addr)
            except ValueError as error:
                raise ValueError(f"CONSUL_HTTP_ADDR: {error}") from None
            self.token()
        return self

    @property
    def address(self) -> ConsulAddress:
        return ConsulAddress.parse(self.http_addr)

    @property
    def is_encrypted(self) -> bool:
        """Whether Consul is spoken to by HTTPS."""
        is_chosen = self.http_ssl and "://" not in self.http_addr
        return bool(self.http_addr) and (is_chosen or self.address.scheme == "https")

    def token(self) -> str:
        """The token, empty for none.

        Raises:
            ValueError: its file can't be read.
        """
        if self.http_token.get_secret_value() or self.http_token_file is None:
            return self.http_token.get_secret_value()
        try:
            return self.http_token_file.read_text().strip()
        except (OSError, ValueError):
            raise ValueError(f"CONSUL_HTTP_TOKEN_FILE: can't read '{self.http_token_file}'") from None
