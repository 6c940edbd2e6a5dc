"""The certificate that the public ports show, and the one they ask for."""

from __future__ import annotations

import ssl
import sys
from dataclasses import dataclass
from pathlib import Path

import grpc

from penstock.tls import show, trust

# What RFC 9113 (9.2.2) leaves of TLS 1.2; 1.3 has good ones only.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files; with ``client_ca`` only clients with a certificate that it signed are served (mutual TLS)."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def check(self) -> None:
        """Find out now whether the files are what they must be.

        Raises:
            SystemExit: one can't be read, or they don't fit.
        """
        self.context()

    def context(self, *protocols: str) -> ssl.SSLContext:
        """For asyncio; ``protocols`` are offered by ALPN.

        Raises:
            SystemExit: a file can't be read, or the files don't fit.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(_CIPHERS)
        if protocols:
            context.set_alpn_protocols(list(protocols))
        for path in filter(None, (self.certificate, self.key, self.client_ca)):
            _read(path)
        try:
            show(context, self.certificate, self.key)
            if self.client_ca is not None:
                trust(context, self.client_ca)
                context.verify_mode = ssl.CERT_REQUIRED
        except ValueError as error:
            sys.exit(str(error))
        return context

    def credentials(self) -> grpc.ServerCredentials:
        """The same for grpcio."""
        self.check()
        ca = None if self.client_ca is None else _read(self.client_ca)
        pair = (_read(self.key), _read(self.certificate))
        return grpc.ssl_server_credentials([pair], root_certificates=ca, require_client_auth=ca is not None)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        sys.exit(f"can't read the TLS file '{path}': {error.strerror}")
