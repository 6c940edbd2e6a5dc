"""A real MLflow: its own server, and its own client in a process of its own."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from tests.support.ports import free_port

is_installed = importlib.util.find_spec("mlflow") is not None and importlib.util.find_spec("flask") is not None


@contextlib.contextmanager
def mlflow_server(folder: Path, **environ: str) -> Iterator[str]:
    """Its address, once it answers. What it keeps is below ``folder``."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    stores = [f"--backend-store-uri=sqlite:///{folder}/mlflow.db", f"--artifacts-destination={folder}/artifacts"]
    with (folder / "mlflow.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, *stores],
            stdout=log,
            stderr=log,
            env={**os.environ, **environ},
            cwd=folder,
            start_new_session=True,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            for _ in range(600):
                with contextlib.suppress(httpx.TransportError):
                    if httpx.get(f"{url}/health").is_success:
                        break
                if process.poll() is not None:
                    raise RuntimeError((folder / "mlflow.log").read_text())
                time.sleep(0.1)
            yield url
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 15)
            process.wait(20)
