"""Grafana's annotations over HTTP, as its API keeps them: Grafana itself is in no package of Debian's."""

from __future__ import annotations

import http.server
import json
import threading
import urllib.parse
from types import TracebackType
from typing import Any, Self


class AnnotationServer(http.server.ThreadingHTTPServer):
    """Keeps what is written by POST and PATCH, and finds it by its tags; ``token`` must come with each call."""

    def __init__(self, *, token: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.token = token
        self.annotations: dict[int, dict[str, Any]] = {}
        self.is_broken = False
        """Whether writes are kept and answered with 500 all the same."""
        self.url = f"http://127.0.0.1:{self.server_port}"
        self._thread = threading.Thread(target=self.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: AnnotationServer

    def do_GET(self) -> None:
        if self._is_admitted():
            tags = set(urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query).get("tags", []))
            kept = self.server.annotations.items()
            self._answer(200, [{"id": number, **one} for number, one in kept if tags <= set(one["tags"])])

    def do_POST(self) -> None:
        if self._is_admitted():
            number = len(self.server.annotations) + 1
            self.server.annotations[number] = self._body()
            self._written({"message": "Annotation added", "id": number})

    def do_PATCH(self) -> None:
        if self._is_admitted():
            self.server.annotations[int(self.path.rpartition("/")[2])] |= self._body()
            self._written({"message": "Annotation patched"})

    def _is_admitted(self) -> bool:
        if self.headers["Authorization"] == f"Bearer {self.server.token}":
            return True
        self._answer(401, {"message": "Unauthorized"})
        return False

    def _body(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        return found

    def _written(self, body: Any) -> None:
        self._answer(500 if self.server.is_broken else 200, {"message": "broken"} if self.server.is_broken else body)

    def _answer(self, status: int, body: Any) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: Any) -> None:
        """Quiet."""
