"""``/metrics``, from a thread, on a socket that may be shared with the process before or after this one."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import WSGIApplication


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, listener: socket.socket) -> None:
        self.address_family = listener.family
        host, port = listener.getsockname()[:2]
        super().__init__((host, port), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.server_name, self.server_port = host, port
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever asked has left."""


class _Handler(WSGIRequestHandler):
    timeout = 30.0  # seconds without a byte after which a caller is taken for gone

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the library's signature
        """Scrapes are not worth a line."""


def serve(page: WSGIApplication, listener: socket.socket) -> Callable[[], None]:
    """Serve a page on a bound socket, which is owned from then on; return what stops it."""
    server = _Server(listener)
    server.set_app(page)
    listener.setblocking(False)  # another process may take the connection that this one was told of
    server.server_activate()
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop
