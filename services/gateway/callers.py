"""Who calls: whoever is to have a fair share of what is scarce. Nobody proves it."""

from __future__ import annotations

from typing import Any

TENANT = "x-penstock-tenant"
"""Metadata, or a header, by which callers say whom they call for."""
_LONGEST = 128
_OF_A_CERTIFICATE = ("x509_common_name", "x509_subject_alternative_name")


def tenant(name: str) -> str:
    """A caller by the name that it gives, "" if it gives none."""
    return name[:_LONGEST]


def peer_of(context: Any) -> str:
    """The caller that gives no name, by its certificate or host; looked for once on a connection of our own front."""
    connection = getattr(context, "connection", None)
    if connection is None:
        return _look_at(context)
    if connection.memo is None:
        connection.memo = _look_at(context)
    peer: str = connection.memo
    return peer


def _look_at(context: Any) -> str:
    known = context.auth_context()
    for key in _OF_A_CERTIFICATE:
        for name in known.get(key, ()):
            return tenant(name.decode(errors="replace"))
    peer: str = context.peer()  # "ipv4:127.0.0.1:8001"
    return peer.rpartition(":")[0].partition(":")[2] or peer
