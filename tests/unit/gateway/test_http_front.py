from __future__ import annotations

from starlette.applications import Starlette

from services.gateway.fronts import FrontOptions
from services.gateway.fronts.http import HttpFront


def test_idle_connections_outlive_a_standstill_of_some_seconds() -> None:
    front = HttpFront(Starlette(), FrontOptions("127.0.0.1", 0, 0, max_request_bytes=1, drain_timeout_s=1))
    try:
        assert front.config.timeout_keep_alive >= 60
    finally:
        front._socket.close()
