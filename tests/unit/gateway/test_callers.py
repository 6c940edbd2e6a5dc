"""Who calls, as fair shares go by."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request

from services.gateway.callers import peer_of, tenant
from services.gateway.rest import caller_of


class Call:
    """What a servicer is told of its caller."""

    def __init__(self, peer: str, **known: list[bytes]) -> None:
        self._peer, self._known = peer, known
        self.asked = 0

    def auth_context(self) -> dict[str, list[bytes]]:
        self.asked += 1
        return self._known

    def peer(self) -> str:
        return self._peer


@pytest.mark.parametrize(
    ("call", "caller"),
    [
        (Call("ipv4:10.1.2.3:4567"), "10.1.2.3"),
        (Call("ipv6:%5Bfe80::1%5D:4567"), "%5Bfe80::1%5D"),
        (Call("unix:"), "unix:"),
        (Call("ipv4:10.1.2.3:4567", x509_common_name=[b"alice"]), "alice"),
        (Call("ipv4:10.1.2.3:4567", x509_subject_alternative_name=[b"a.example", b"b.example"]), "a.example"),
    ],
)
def test_a_caller_without_a_name_is_its_certificate_or_its_host(call: Call, caller: str) -> None:
    assert peer_of(call) == caller


def test_a_connection_is_looked_at_once() -> None:
    call: Any = Call("ipv4:10.1.2.3:4567")
    call.connection = SimpleNamespace(memo=None)
    assert peer_of(call) == peer_of(call) == "10.1.2.3"
    assert call.asked == 1


def test_names_are_cut() -> None:
    assert len(tenant("a" * 100_000)) == 128


@pytest.mark.parametrize(
    ("headers", "client", "caller"),
    [
        ([(b"x-penstock-tenant", b"alice")], ("10.1.2.3", 4567), "alice"),
        ([(b"x-penstock-tenant", b"")], ("10.1.2.3", 4567), "10.1.2.3"),
        ([], None, "unknown"),
    ],
)
def test_a_caller_over_rest(headers: list[tuple[bytes, bytes]], client: Any, caller: str) -> None:
    assert caller_of(Request({"type": "http", "headers": headers, "client": client})) == caller
