"""Garbage as messages."""

from __future__ import annotations

from penstock.registry.v1 import registry_service_pb2 as api
from services.registry.domain.garbage import Garbage


def garbage_to_pb(garbage: Garbage) -> api.Garbage:
    return api.Garbage(
        kind=f"KIND_{garbage.kind.value}",
        sha256=garbage.sha256,
        size_bytes=garbage.size_bytes,
        failure=garbage.failure,
    )
