"""Addresses as text: ``host:port``, an IPv6 host in brackets, several with commas between."""

from __future__ import annotations

import ipaddress
import re
import socket

_ADDRESS = re.compile(r"(?:\[[^\s\[\]/,]+\]|[^\s\[\]/,:]+):(\d{1,5})")
_WILDCARDS = ("", "0.0.0.0", "::")
_ELSEWHERE = (("192.0.2.1", socket.AF_INET), ("2001:db8::1", socket.AF_INET6))
"""Addresses kept for documentation: nobody is there, but there is a way out to them."""


def listed(text: str) -> tuple[str, ...]:
    """The addresses in a list, each once, in its order.

    Raises:
        ValueError: one has another form; the message has no name of a setting.
    """
    found = tuple(dict.fromkeys(one.strip() for one in text.split(",") if one.strip()))
    for one in found:
        if (match := _ADDRESS.fullmatch(one)) is None or not 0 < int(match[1]) < 65_536:
            raise ValueError(f"got {one!r}, expected host:port, or several of them with commas between")
    return found


def split(address: str) -> tuple[str, int]:
    """Host, without brackets, and port."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def reachable_host(bind: str) -> str:
    """The host by which others reach a server that listens on ``bind``, without brackets.

    Where that is a wildcard: the address from which this machine's packets leave it, or loopback if none do.
    """
    host = bind.strip("[]")
    if host not in _WILDCARDS:
        return host
    for elsewhere, family in _ELSEWHERE if host != "::" else reversed(_ELSEWHERE):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((elsewhere, 9))  # chooses a route, sends nothing
                return str(ipaddress.ip_address(probe.getsockname()[0].partition("%")[0]))
        except OSError:
            continue
    return "::1" if host == "::" else "127.0.0.1"
