"""What hosts the servicers and the REST application; they don't know which one it is."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

from services.gateway.domain.pending_bytes import PendingBytes
from services.gateway.fronts.grpc_requests import Reserve, nowhere
from services.gateway.fronts.tls import Tls


@dataclass(frozen=True, slots=True)
class FrontOptions:
    """Where and how a front serves."""

    host: str
    grpc_port: int
    http_port: int
    max_request_bytes: int
    drain_timeout_s: float
    tls: Tls | None = None
    reuse_port: bool = False
    """Whether other processes listen on the same ports."""
    listeners: Mapping[str, socket.socket] = field(default_factory=dict)
    """Sockets for "grpc" and "http" that outlive this process, instead of own ones."""
    reserve: Reserve = nowhere
    """Makes room for a message that comes in pieces."""
    pending_bytes: PendingBytes = field(default_factory=PendingBytes)
    """What all requests hold, those in pieces too."""
