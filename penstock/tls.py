"""How a client speaks TLS with a gateway: whom it trusts, and what it shows of itself."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import grpc

from penstock.endpoints import GATEWAY_CA, GATEWAY_TLS_CERTIFICATE, TLS_VARIABLES

PUBLIC = "public"
"""What stands in place of a file for the authorities that grpc brings."""


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files; ``certificate`` and ``key`` are a client's own, for a gateway that wants to see them."""

    ca: Path | None = None
    """Authorities that the gateway's certificate may be of, or that certificate; None: the public ones."""
    certificate: Path | None = None
    key: Path | None = None
    server_name: str = ""
    """The name in the gateway's certificate, where that isn't in its address."""

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("got one of a client's TLS certificate and key, expected both or none")

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> Self | None:
        """As ``PENSTOCK_GATEWAY_CA`` and the others say, else as the suite's own settings do; None: no TLS.

        Raises:
            ValueError: they don't fit together.
        """
        given = os.environ if environ is None else environ
        ca, certificate, key, server_name = (given.get(name, "") for name in TLS_VARIABLES)
        ca = ca or given.get(GATEWAY_TLS_CERTIFICATE, "")
        if not ca:
            if found := [name for name in TLS_VARIABLES if given.get(name)]:
                raise ValueError(f"got {', '.join(found)}, expected {GATEWAY_CA} too: a PEM file, or {PUBLIC!r}")
            return None
        return cls(
            ca=None if ca == PUBLIC else Path(ca),
            certificate=Path(certificate) if certificate else None,
            key=Path(key) if key else None,
            server_name=server_name,
        )

    @property
    def options(self) -> list[tuple[str, str]]:
        """What a channel needs besides :meth:`credentials`."""
        return [("grpc.ssl_target_name_override", self.server_name)] if self.server_name else []

    def credentials(self) -> grpc.ChannelCredentials:
        """What a channel needs.

        Raises:
            OSError: a file can't be read.
            ValueError: a file is not what it must be.
        """
        files = [None if path is None else path.read_bytes() for path in (self.ca, self.key, self.certificate)]
        self.context()  # of unfit files, grpc would say only that nothing can be connected
        return grpc.ssl_channel_credentials(*files)

    def context(self) -> ssl.SSLContext:
        """The same for REST, by ``http.client`` or ``urllib``.

        Raises:
            OSError, ValueError: as for :meth:`credentials`.
        """
        context = _ClientContext(ssl.PROTOCOL_TLS_CLIENT)
        context.server_name = self.server_name
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the certificate itself may be all that is trusted
        if self.ca is None:
            context.load_default_certs()
        else:
            trust(context, self.ca)
        if self.certificate is not None and self.key is not None:
            show(context, self.certificate, self.key)
        return context


class _ClientContext(ssl.SSLContext):
    server_name = ""
    """Expected in the certificate, whatever the address."""

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        if self.server_name:
            options["server_hostname"] = self.server_name
        return super().wrap_socket(*args, **options)


def show(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Let a context show a certificate.

    Raises:
        ValueError: the files don't fit, or aren't what they must be.
    """
    try:
        context.load_cert_chain(certificate, key, password=_refuse_password)
    except (ssl.SSLError, ValueError) as error:
        raise ValueError(
            f"can't use the TLS certificate '{certificate}' with the key '{key}': {_reason(error)}"
        ) from None


def trust(context: ssl.SSLContext, authorities: Path) -> None:
    """Let a context accept certificates of these authorities.

    Raises:
        ValueError: the file holds none.
    """
    try:
        context.load_verify_locations(authorities)
    except ssl.SSLError as error:
        raise ValueError(f"can't use the TLS authorities '{authorities}': {_reason(error)}") from None


def _refuse_password() -> str:
    raise ValueError("the key is encrypted, expected one without a password")


def _reason(error: Exception) -> str:
    return (getattr(error, "reason", None) or str(error)).replace("_", " ").lower()
