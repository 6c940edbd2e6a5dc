"""Clients that keep a number of requests under way and time each of them."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

METHOD = "/inference.GRPCInferenceService/ModelInfer"
CONNECTIONS = 4
"""Most connections that a load is spread over; each then carries several requests at a time."""


class LoadFailedError(Exception):
    """A load did not run as asked: its figures mean nothing."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent where: ``body`` (a serialised ModelInferRequest) again and again, ``concurrency`` at a time."""

    address: str
    body: bytes
    concurrency: int

    @property
    def connections(self) -> int:
        return min(CONNECTIONS, self.concurrency)

    @property
    def streams(self) -> int:
        """Requests at a time on each connection."""
        return self.concurrency // self.connections


@dataclass(frozen=True, slots=True)
class Timing:
    """Every request's latency (µs) in order of completion, the time they took together, the bytes of all replies.

    ``reply_bytes`` counts messages without gRPC's five bytes of framing.
    """

    latencies_us: NDArray[np.int64]
    elapsed_s: float
    reply_bytes: int

    @property
    def rate(self) -> float:
        return len(self.latencies_us) / self.elapsed_s

    def percentile_ms(self, percent: float) -> float:
        return float(np.percentile(self.latencies_us, percent)) / 1_000


class LoadClient(Protocol):
    """Sends a load. ``description`` is for the report."""

    description: str

    def run(self, load: Load, *, requests: int) -> Timing:
        """Send exactly so many requests; every one has succeeded when this returns.

        Raises:
            LoadFailedError: one of them has not.
        """
        ...


class H2load:
    """nghttp2's load generator, in C: it takes a small share of the machine and times each request."""

    def __init__(self, program: str) -> None:
        self._program = program
        version = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout.strip()
        self.description = f"h2load ({version.removeprefix('h2load ')})"

    def run(self, load: Load, *, requests: int) -> Timing:
        with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
            body, log = Path(folder, "body"), Path(folder, "log")
            body.write_bytes(b"\0" + len(load.body).to_bytes(4, "big") + load.body)
            log.touch()
            command = [
                *(self._program, "--threads=1", f"--clients={load.connections}"),
                *(f"--max-concurrent-streams={load.streams}", f"--requests={requests}"),
                *(f"--data={body}", f"--log-file={log}", "-H", "content-type: application/grpc", "-H", "te: trailers"),
                f"http://{load.address}{METHOD}",
            ]
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            if done.returncode != 0:
                raise LoadFailedError(f"h2load failed: {done.stdout}{done.stderr}")
            return _parse(done.stdout, log, requests=requests)


def _parse(output: str, log: Path, *, requests: int) -> Timing:
    succeeded = re.search(r"(\d+) succeeded, 0 failed, 0 errored, 0 timeout", output)
    payload = re.search(r"traffic: .*\((\d+)\) data", output)
    if succeeded is None or int(succeeded[1]) != requests or payload is None:
        raise LoadFailedError(f"expected {requests} successes, got:\n{output}")
    rows = np.fromfile(log, dtype=np.int64, sep=" ").reshape(-1, 3)
    begun_us, statuses, latencies_us = rows.T
    if len(rows) != requests or not (statuses == 200).all():
        raise LoadFailedError(f"expected {requests} times status 200, got {len(rows)}: {np.unique(statuses)}")
    elapsed_s = float((begun_us + latencies_us).max() - begun_us.min()) / 1e6
    return Timing(latencies_us, elapsed_s, int(payload[1]) - 5 * requests)


def find_client() -> LoadClient:
    """h2load where it is installed, else the Python client."""
    if program := shutil.which("h2load"):
        return H2load(program)
    from benchmarks.python_client import PythonClient

    return PythonClient()
