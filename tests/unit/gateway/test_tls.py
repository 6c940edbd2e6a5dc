"""What is said when the files of the TLS settings are not what they must be."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from services.gateway.fronts.tls import Tls
from services.gateway.settings import GatewaySettings
from tests.support.certificates import Certificates


def test_good_files_are_taken(certificates: Certificates) -> None:
    server = certificates.server

    Tls(server.certificate, server.key, certificates.authority).credentials()


def test_a_missing_file_is_named(certificates: Certificates, tmp_path: Path) -> None:
    absent, server = tmp_path / "absent.pem", certificates.server

    for tls in (Tls(absent, server.key), Tls(server.certificate, absent), Tls(server.certificate, server.key, absent)):
        with pytest.raises(SystemExit, match=f"can't read the TLS file '{absent}': No such file"):
            tls.context()


def test_files_that_do_not_fit_are_named(certificates: Certificates, tmp_path: Path) -> None:
    garbage, server = tmp_path / "garbage.pem", certificates.server
    garbage.write_text("nothing")

    with pytest.raises(SystemExit, match=r"certificate .*server.pem.* with the key .*client.key.*mismatch"):
        Tls(server.certificate, certificates.client.key).context()
    with pytest.raises(SystemExit, match=r"can't use the TLS certificate '.*garbage.pem'"):
        Tls(garbage, server.key).context()
    with pytest.raises(SystemExit, match=r"can't use the TLS authorities '.*garbage.pem'"):
        Tls(server.certificate, server.key, garbage).context()


@pytest.mark.parametrize("given", ["tls_certificate", "tls_key", "tls_client_ca"])
def test_half_a_setting_is_refused(given: str) -> None:
    with pytest.raises(ValidationError, match="tls_certificate"):
        GatewaySettings(**{given: Path("some.pem")})  # type: ignore[arg-type]
