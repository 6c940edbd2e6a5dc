"""Certificates for TLS, made on the spot: no key of theirs is ever kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True, slots=True)
class Pair:
    """PEM files: a certificate and its key."""

    certificate: Path
    key: Path

    @property
    def gateway_settings(self) -> dict[str, str]:
        """A gateway that shows it."""
        return {"PENSTOCK_GATEWAY__TLS_CERTIFICATE": str(self.certificate), "PENSTOCK_GATEWAY__TLS_KEY": str(self.key)}


@dataclass(frozen=True, slots=True)
class Certificates:
    """One authority, and what it has signed: for this machine, for ``elsewhere.test``, and for ``client.test``."""

    authority: Path
    server: Pair
    elsewhere: Pair
    client: Pair

    @classmethod
    def make(cls, folder: Path) -> Certificates:
        authority = trustme.CA()

        def issue(name: str, *identities: str) -> Pair:
            pair = Pair(folder / f"{name}.pem", folder / f"{name}.key")
            issued = authority.issue_cert(*identities)
            issued.cert_chain_pems[0].write_to_path(pair.certificate)
            issued.private_key_pem.write_to_path(pair.key)
            return pair

        authority.cert_pem.write_to_path(folder / "authority.pem")
        return cls(
            folder / "authority.pem",
            server=issue("server", "localhost", "127.0.0.1"),
            elsewhere=issue("elsewhere", "elsewhere.test"),
            client=issue("client", "client.test"),
        )
