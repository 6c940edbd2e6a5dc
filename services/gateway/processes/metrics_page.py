"""A page that is made anew for each caller, served from a thread."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def serve_page(make: Callable[[], str], listener: socket.socket, *, content_type: str) -> Callable[[], None]:
    """Answer every GET with what ``make`` gives, on a bound socket, owned from then on; return what stops it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = make().encode()
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            with contextlib.suppress(ConnectionError):
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the library's signature
            """Scrapes are not worth a line."""

    class Server(ThreadingHTTPServer):
        address_family = listener.family
        daemon_threads = True

    server = Server(listener.getsockname(), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    server.server_activate()
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop
