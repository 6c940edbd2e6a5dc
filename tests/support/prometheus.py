"""A real Prometheus and a real Alertmanager of one's own, and somebody whom the Alertmanager tells."""

from __future__ import annotations

import http.server
import json
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from tests.support.ports import free_port
from tools import prometheus as tool


def program(name: str) -> list[str]:
    """The command that begins with it."""
    found = tool.command(name)
    if found is None:
        pytest.skip(f"there is no {name} here: put one on the PATH, or run `make prometheus`")
    return found


class _Server:
    """A program in a folder of its own, which answers HTTP when it is ready. It keeps its state until it is left."""

    def __init__(self, name: str) -> None:
        self._program = program(name)
        self._folder = tempfile.TemporaryDirectory(prefix=f"penstock-{name}-")
        self.folder = Path(self._folder.name)
        self.address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{self.address}"
        self._process: subprocess.Popen[bytes] | None = None

    def arguments(self) -> Sequence[str]:
        raise NotImplementedError

    def start(self) -> None:
        """Start it, and wait until it answers."""
        log = self.folder / "output.log"
        with log.open("ab") as output:
            command = [*self._program, *self.arguments()]
            self._process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not self._is_ready():
            assert self._process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def kill(self) -> None:
        """End it as by a crash."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def ask(self, path: str, **parameters: str) -> Any:
        """What the API answers. Raises OSError when it doesn't."""
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"{self.url}{path}?{query}", timeout=20) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path} {parameters}: {error.read().decode()}") from error

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()
        self._folder.cleanup()


class PrometheusServer(_Server):
    """Scrapes ``targets``, lists of addresses by job, every second; ``rules`` are the text of a file."""

    def __init__(self, targets: Mapping[str, str], *, rules: str = "", alertmanager: str = "") -> None:
        super().__init__("prometheus")
        (self.folder / "rules.yml").write_text(rules or "groups: []\n")
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(self.folder / "rules.yml")],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": [address]}]} for job, address in targets.items()
            ],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}] if alertmanager else []},
        }
        (self.folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML

    def arguments(self) -> Sequence[str]:
        return [
            f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address={self.address}",
            "--enable-feature=exemplar-storage",
        ]

    def query(self, expression: str) -> list[Any]:
        """The instant vector."""
        found: list[Any] = self.ask("/api/v1/query", query=expression)["data"]["result"]
        return found

    def exemplars(self, expression: str) -> list[Any]:
        """The exemplars of the last ten minutes."""
        now = time.time()
        answer = self.ask("/api/v1/query_exemplars", query=expression, start=str(now - 600), end=str(now + 60))
        return [one for series in answer["data"] for one in series["exemplars"]]


class AlertmanagerServer(_Server):
    """Tells ``webhook`` of alerts at once, one by one."""

    def __init__(self, *, webhook: str = "") -> None:
        super().__init__("alertmanager")
        receiver: dict[str, Any] = {"name": "somebody"}
        if webhook:
            receiver["webhook_configs"] = [{"url": webhook, "send_resolved": True}]
        route = {"receiver": "somebody", "group_by": ["..."], "group_wait": "0s", "group_interval": "1s"}
        (self.folder / "alertmanager.yml").write_text(json.dumps({"route": route, "receivers": [receiver]}))

    def arguments(self) -> Sequence[str]:
        return [
            f"--config.file={self.folder / 'alertmanager.yml'}",
            f"--storage.path={self.folder / 'data'}",
            f"--web.listen-address={self.address}",
            "--cluster.listen-address=",
        ]

    def alerts(self) -> list[Any]:
        """Those that fire."""
        found: list[Any] = self.ask("/api/v2/alerts")
        return found


class Webhook:
    """Whom an Alertmanager tells: keeps what it was sent."""

    def __init__(self) -> None:
        received: list[Any] = []
        self.alerts = received

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                received.extend(json.loads(self.rfile.read(length))["alerts"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                """Quiet."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
