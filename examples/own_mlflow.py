"""An MLflow for an example: the one that is named, or a server of its own that ends with it."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

_START_S = 120.0
_STOP_S = 5.0
"""Nothing that it keeps outlives it, so there is nothing to wait for."""
_OLDEST = (3, 9)
"""The first MLflow that keeps scikit-learn's estimators by skops, which needs no trust."""
_INSTALL = "pip install 'penstock[mlflow,sklearn]' 'mlflow>=3.9,<4'"


def check_installed() -> None:
    """Exit, and say what to install, where this Python lacks MLflow or what its server needs."""
    if any(importlib.util.find_spec(one) is None for one in ("mlflow", "flask")):
        raise SystemExit(f"MLflow, or its server, isn't installed: {_INSTALL}")
    version = importlib.metadata.version("mlflow")
    if tuple(int(part) for part in version.split(".")[:2]) < _OLDEST:
        raise SystemExit(f"got MLflow {version}, expected 3.9 or newer: {_INSTALL}")


@contextlib.contextmanager
def running_mlflow() -> Iterator[str]:
    """The address of the MLflow that MLFLOW_TRACKING_URI names, or of one that is started for the body of ``with``."""
    if named := os.environ.get("MLFLOW_TRACKING_URI"):
        yield named
        return
    print("No MLflow is named: starting one …", flush=True)
    with tempfile.TemporaryDirectory(prefix="penstock-mlflow-") as folder, _started(Path(folder)) as address:
        yield address


@contextlib.contextmanager
def _started(folder: Path) -> Iterator[str]:
    """A server on loopback that keeps everything in a folder, once it answers."""
    port, said = _free_port(), folder / "server.log"
    stores = [f"--backend-store-uri=sqlite:///{folder}/mlflow.db", f"--artifacts-destination={folder}/artifacts"]
    with said.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", "--host=127.0.0.1", f"--port={port}", "--workers=1", *stores],
            env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for the example, which then ends the server and all that it started
        )
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for(server, address, said)
        yield address
    finally:
        _end(server)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def _wait_for(server: subprocess.Popen[bytes], address: str, said: Path) -> None:
    end_s = time.monotonic() + _START_S
    while time.monotonic() < end_s:
        if server.poll() is not None:
            raise SystemExit(f"MLflow's server did not start:\n{said.read_text(errors='replace')}")
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            urllib.request.urlopen(f"{address}/health", timeout=5).close()
            return
        time.sleep(0.1)
    raise SystemExit(f"MLflow's server did not start in {_START_S:.0f} s")


def _end(server: subprocess.Popen[bytes]) -> None:
    """End it in order; what doesn't end then, of all that it started, is killed."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, kind)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(_STOP_S)
