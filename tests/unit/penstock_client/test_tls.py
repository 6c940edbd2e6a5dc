"""How a client is told about TLS, and what it says when that can't be."""

from __future__ import annotations

import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from penstock import Client, Tls
from tests.support.certificates import Certificates, Pair


def test_nothing_said_is_no_tls() -> None:
    assert Tls.from_environ({"PENSTOCK_GATEWAY_ADDRESS": "far:8001"}) is None


def test_what_is_said_is_taken() -> None:
    environ = {
        "PENSTOCK_GATEWAY_CA": "ca.pem",
        "PENSTOCK_GATEWAY_CLIENT_CERTIFICATE": "me.pem",
        "PENSTOCK_GATEWAY_CLIENT_KEY": "me.key",
        "PENSTOCK_GATEWAY_SERVER_NAME": "models.test",
        "PENSTOCK_GATEWAY__TLS_CERTIFICATE": "server.pem",
    }

    assert Tls.from_environ(environ) == Tls(Path("ca.pem"), Path("me.pem"), Path("me.key"), "models.test")


def test_the_suite_s_own_certificate_is_trusted() -> None:
    assert Tls.from_environ({"PENSTOCK_GATEWAY__TLS_CERTIFICATE": "server.pem"}) == Tls(Path("server.pem"))


def test_public_stands_for_the_authorities_that_everybody_knows() -> None:
    assert Tls.from_environ({"PENSTOCK_GATEWAY_CA": "public"}) == Tls()


def test_half_a_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="got one of a client's TLS certificate and key, expected both or none"):
        Tls.from_environ({"PENSTOCK_GATEWAY_CA": "public", "PENSTOCK_GATEWAY_CLIENT_KEY": "me.key"})


def test_an_authority_is_missed() -> None:
    with pytest.raises(ValueError, match=r"got PENSTOCK_GATEWAY_SERVER_NAME, expected PENSTOCK_GATEWAY_CA too"):
        Tls.from_environ({"PENSTOCK_GATEWAY_SERVER_NAME": "models.test"})


def test_unfit_files_are_named_before_anything_is_called(certificates: Certificates, tmp_path: Path) -> None:
    garbage, client = tmp_path / "garbage.pem", certificates.client
    garbage.write_text("nothing")

    with pytest.raises(FileNotFoundError, match=r"absent\.pem"):
        Client(tls=Tls(tmp_path / "absent.pem"))
    with pytest.raises(ValueError, match=r"can't use the TLS authorities '.*garbage\.pem'"):
        Client(tls=Tls(garbage))
    with pytest.raises(ValueError, match=r"certificate '.*client\.pem' with the key '.*server\.key': .*mismatch"):
        Client(tls=Tls(certificates.authority, client.certificate, certificates.server.key))


def shake_hands(shown: Pair, trusting: Tls) -> ssl.SSLSocket:
    """What a client gets when a server at ``localhost`` shows a certificate."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(shown.certificate, shown.key)
    ours, theirs = socket.socketpair()
    with ThreadPoolExecutor(1) as threads, theirs:
        answering = threads.submit(server.wrap_socket, theirs, server_side=True)
        try:
            with trusting.context().wrap_socket(ours, server_hostname="localhost") as connected:
                answering.result().close()
                return connected
        finally:
            ours.close()


@pytest.mark.parametrize("trusted", ["authority", "server"])
def test_rest_trusts_an_authority_or_the_certificate_itself(certificates: Certificates, trusted: str) -> None:
    server = certificates.server
    shake_hands(server, Tls(certificates.authority if trusted == "authority" else server.certificate))

    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(server, Tls(certificates.client.certificate))


def test_rest_expects_the_name_that_is_said(certificates: Certificates) -> None:
    elsewhere = certificates.elsewhere
    shake_hands(elsewhere, Tls(certificates.authority, server_name="elsewhere.test"))

    with pytest.raises(ssl.SSLCertVerificationError, match="localhost"):
        shake_hands(elsewhere, Tls(certificates.authority))
