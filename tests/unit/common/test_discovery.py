"""Addresses, peers, settings of Consul; tests/integration/common/test_discovery.py has Consul itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.endpoints import joined
from services.common.discovery import addresses
from services.common.discovery.discovery import Discovery
from services.common.discovery.peers import Peers
from services.common.discovery.registration import REGISTRY, Registration
from services.common.discovery.settings import ConsulAddress, ConsulSettings
from services.common.settings import SuiteSettings, load_suite


def test_a_list_holds_each_address_once_in_its_order() -> None:
    assert addresses.listed("b:2, a:1 ,b:2,[::1]:3,") == ("b:2", "a:1", "[::1]:3")
    assert addresses.listed("") == ()


@pytest.mark.parametrize("text", ["a", "a:", ":1", "a:0", "a:65536", "a:1;b:2", "::1:3", "http://a:1", "a b:1", "[]:1"])
def test_what_is_no_address_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(ValueError, match="expected host:port"):
        addresses.listed(f"fine:1,{text}")


def test_hosts_of_six_colons_travel_in_brackets() -> None:
    assert joined("::1", 8021) == joined("[::1]", 8021) == "[::1]:8021"
    assert addresses.split("[::1]:8021") == ("::1", 8021)
    assert Registration(REGISTRY, "::1", 8021).address == "[::1]:8021"


@pytest.mark.parametrize(("bind", "host"), [("127.0.0.1", "127.0.0.1"), ("[::1]", "::1"), ("node-7", "node-7")])
def test_others_reach_what_listens_on_an_address_there(bind: str, host: str) -> None:
    assert SuiteSettings(bind=bind).reachable_host == host
    assert SuiteSettings(bind=bind, advertise_host="other").reachable_host == "other"


@pytest.mark.parametrize("bind", ["0.0.0.0", "[::]", "::", ""])
def test_a_wildcard_is_nothing_that_others_could_reach(bind: str) -> None:
    assert SuiteSettings(bind=bind).reachable_host not in ("0.0.0.0", "::", "")


def test_peers_are_in_one_order_and_never_none_once_there_were_some() -> None:
    peers, changes = Peers.at("b:1,a:1"), list[tuple[str, ...]]()
    peers.on_change(lambda: changes.append(peers.addresses))

    assert peers.addresses == ("a:1", "b:1")
    assert not peers.update([])
    assert not peers.update(["b:1", "a:1", "b:1"])
    assert peers.update(["c:1", "b:1"])
    assert changes == [("b:1", "c:1")]
    assert str(peers) == "b:1,c:1"


def test_who_starts_without_addresses_looks_for_none() -> None:
    discovery = Discovery(ConsulSettings(http_addr="127.0.0.1:8500"))

    assert discovery.find("penstock-monitor", "").addresses == ()
    assert discovery.watches == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("consul", ConsulAddress("http", "consul", 8500)),
        ("127.0.0.1:18500", ConsulAddress("http", "127.0.0.1", 18500)),
        ("[::1]:8500", ConsulAddress("http", "::1", 8500)),
        ("http://consul:8500/", ConsulAddress("http", "consul", 8500)),
        ("https://consul.example", ConsulAddress("https", "consul.example", 443)),
        ("unix:///run/consul.sock", ConsulAddress("http", "localhost", 0, "/run/consul.sock")),
    ],
)
def test_consul_s_address_has_the_forms_that_its_own_command_takes(text: str, expected: ConsulAddress) -> None:
    assert ConsulSettings(http_addr=text).address == expected


@pytest.mark.parametrize("text", ["::", "host:port", "host:99999", "ftp://host", "http://host/path", "a b", "unix://x"])
def test_another_form_is_refused_by_name(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUL_HTTP_ADDR", text)

    with pytest.raises(ValueError, match=r"^CONSUL_HTTP_ADDR: got .* expected host:port, "):
        load_suite()


def test_without_a_consul_nothing_about_it_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUL_HTTP_ADDR", "")
    monkeypatch.setenv("CONSUL_HTTP_TOKEN_FILE", "/not/there")
    monkeypatch.setenv("CONSUL_HTTP_SSL", "true")

    assert not Discovery(load_suite().consul).is_enabled


def test_the_token_may_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")

    assert ConsulSettings(http_addr="c", http_token_file=tmp_path / "token").token() == "secret"
    assert ConsulSettings(http_addr="c", http_token="mine", http_token_file=tmp_path / "token").token() == "mine"
    with pytest.raises(ValueError, match="CONSUL_HTTP_TOKEN_FILE: can't read"):
        ConsulSettings(http_addr="c", http_token_file=tmp_path / "nothing")


def test_https_is_said_by_the_address_or_beside_it() -> None:
    assert ConsulSettings(http_addr="https://c").is_encrypted
    assert ConsulSettings(http_addr="c:1", http_ssl=True).is_encrypted
    assert not ConsulSettings(http_addr="http://c", http_ssl=True).is_encrypted


def test_a_file_for_tls_that_is_none_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing of the kind")

    with pytest.raises(ValueError, match="CONSUL_CACERT"):
        Discovery(ConsulSettings(http_addr="https://c", cacert=tmp_path / "ca.pem"))
