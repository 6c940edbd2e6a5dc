"""What is said when the files of the TLS settings are not what they must be."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from services.gateway.fronts.tls import Tls
from services.gateway.settings import GatewaySettings

FILES = Path(__file__).parents[2] / "support" / "certificates"
SERVER, KEY, OTHER_KEY = FILES / "server.pem", FILES / "server.key", FILES / "client.key"


def test_good_files_are_taken() -> None:
    Tls(SERVER, KEY, FILES / "authority.pem").credentials()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    absent = tmp_path / "absent.pem"

    for tls in (Tls(absent, KEY), Tls(SERVER, absent), Tls(SERVER, KEY, absent)):
        with pytest.raises(SystemExit, match=f"can't read the TLS file '{absent}': No such file"):
            tls.context()


def test_files_that_do_not_fit_are_named(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("nothing")

    with pytest.raises(SystemExit, match=r"certificate .*server.pem.* with the key .*client.key.*mismatch"):
        Tls(SERVER, OTHER_KEY).context()
    with pytest.raises(SystemExit, match=r"can't use the TLS certificate '.*garbage.pem'"):
        Tls(garbage, KEY).context()
    with pytest.raises(SystemExit, match=r"can't use the TLS certificates '.*garbage.pem' of clients"):
        Tls(SERVER, KEY, garbage).context()


@pytest.mark.parametrize(
    "given", [{"tls_certificate": SERVER}, {"tls_key": KEY}, {"tls_client_ca": FILES / "authority.pem"}]
)
def test_half_a_setting_is_refused(given: dict[str, Path]) -> None:
    with pytest.raises(ValidationError, match="tls_certificate"):
        GatewaySettings(**given)  # type: ignore[arg-type]
