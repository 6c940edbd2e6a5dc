"""A request as it goes over the wire, and the client that keeps a number of them under way and times each."""

from __future__ import annotations

import http.client
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import numpy as np
from numpy.typing import NDArray

CONNECTIONS = 4
"""Most connections that a gRPC load is spread over; each then carries several requests at a time."""
_EACH, _MOST_OF_EACH = 10, 100
"""Of a steady load: requests a second on each connection, and how many of them may be unanswered."""
_LATE_SHARE, _LATE_S = 0.02, 0.2
"""By how much the last request of a steady load may be late, before its figures are refused."""
HOW_TO_GET_H2LOAD = "h2load is missing, the load client: install nghttp2-client (Debian) or nghttp2 (Fedora, Homebrew)"


class LoadFailedError(Exception):
    """A load did not run as asked: its figures mean nothing."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request: gRPC over plaintext HTTP/2 (``body`` is the message), or a POST over HTTP/1.1."""

    address: str
    path: str
    body: bytes
    is_grpc: bool = True
    headers: tuple[tuple[str, str], ...] = ()

    def ask(self, timeout_s: float = 60.0) -> bytes:
        """Send it once and return the answer's message or body.

        Raises:
            LoadFailedError: the answer is an error, or there is none.
        """
        try:
            return self._ask_grpc(timeout_s) if self.is_grpc else self._ask_http(timeout_s)
        except (grpc.RpcError, OSError, http.client.HTTPException) as error:
            raise LoadFailedError(f"{self.address}{self.path}: {error}") from None

    def _ask_grpc(self, timeout_s: float) -> bytes:
        limits = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(self.address, options=limits) as channel:
            answer: bytes = channel.unary_unary(self.path)(self.body, timeout=timeout_s)
            return answer

    def _ask_http(self, timeout_s: float) -> bytes:
        connection = http.client.HTTPConnection(urlsplit(f"//{self.address}").netloc, timeout=timeout_s)
        try:
            connection.request("POST", self.path, self.body, dict(self.headers))
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        if response.status != 200:
            raise LoadFailedError(f"{self.address}{self.path} answers {response.status}: {answer[:500]!r}")
        return answer


@dataclass(frozen=True, slots=True)
class Load:
    """``call`` again and again, ``concurrency`` at a time."""

    call: Call
    concurrency: int
    connections: int = CONNECTIONS
    """Most connections for gRPC; over HTTP/1.1 each request under way has one of its own."""

    @property
    def clients(self) -> int:
        return min(self.connections, self.concurrency) if self.call.is_grpc else self.concurrency

    @property
    def streams(self) -> int:
        """Requests at a time on each connection."""
        return self.concurrency // self.clients


@dataclass(frozen=True, slots=True)
class Timing:
    """Every request's latency (µs) in order of completion, the time they took together, the bytes of all replies.

    ``reply_bytes`` counts messages without gRPC's five bytes of framing. ``sending_s`` is the time from the first
    request that was sent to the last one.
    """

    latencies_us: NDArray[np.int64]
    elapsed_s: float
    reply_bytes: int
    sending_s: float = 0.0

    @property
    def rate(self) -> float:
        return len(self.latencies_us) / self.elapsed_s

    def percentile_ms(self, percent: float) -> float:
        return float(np.percentile(self.latencies_us, percent)) / 1_000


class H2load:
    """nghttp2's load generator, in C: it takes a small share of the machine and times each request."""

    def __init__(self) -> None:
        """Raises:
        LoadFailedError: it isn't installed.
        """
        program = shutil.which("h2load")
        if program is None:
            raise LoadFailedError(HOW_TO_GET_H2LOAD)
        self._program = program
        version = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout.strip()
        self.description = f"h2load ({version.removeprefix('h2load ')})"

    def run(self, load: Load, *, requests: int, timeout_s: float = 300.0) -> Timing:
        """Send exactly so many requests; every one was answered with HTTP status 200 when this returns.

        Raises:
            LoadFailedError: one of them was not.
        """
        call = load.call
        streams = f"--max-concurrent-streams={load.streams}" if call.is_grpc else "--h1"
        options = [f"--clients={load.clients}", f"--requests={requests}", streams, f"http://{call.address}{call.path}"]
        return self._run(call, options, requests=requests, timeout_s=timeout_s)

    def run_steadily(self, call: Call, *, rate: int, requests: int, timeout_s: float = 300.0) -> Timing:
        """Send so many gRPC requests, ``rate`` a second, whether or not those before are answered.

        Each connection sends ten a second, and connections begin one after another, so that requests come evenly, to a
        millisecond or two. ``rate`` is a multiple of ten, and ``requests`` of a tenth of it.

        Raises:
            LoadFailedError: one was not answered with HTTP status 200, or they were not sent in time.
        """
        clients = rate // _EACH
        options = [
            *(f"--clients={clients}", f"--requests={requests}", f"--max-concurrent-streams={_MOST_OF_EACH}"),
            *(f"--rps={_EACH}", f"--rate={-(-rate // 1_000)}", f"--rate-period={max(1, round(1_000 / rate))}ms"),
            f"http://{call.address}{call.path}",
        ]
        timing = self._run(call, options, requests=requests, timeout_s=timeout_s)
        span_s = requests / rate
        if timing.sending_s > span_s * (1 + _LATE_SHARE) + _LATE_S:
            raise LoadFailedError(f"the client took {timing.sending_s:.2f} s to send, expected {span_s:.2f} s")
        return timing

    def _run(self, call: Call, options: Sequence[str], *, requests: int, timeout_s: float) -> Timing:
        with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
            body, log = Path(folder, "body"), Path(folder, "log")
            body.write_bytes((b"\0" + len(call.body).to_bytes(4, "big") if call.is_grpc else b"") + call.body)
            log.touch()
            headers = (("content-type", "application/grpc"), ("te", "trailers")) if call.is_grpc else call.headers
            command = [
                *(self._program, "--threads=1", f"--data={body}", f"--log-file={log}"),
                *(f"--header={name}: {value}" for name, value in headers),
                *options,
            ]
            try:
                done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=timeout_s)
            except subprocess.TimeoutExpired:
                raise LoadFailedError(f"{requests} requests were not answered within {timeout_s:.0f} s") from None
            if done.returncode != 0:
                raise LoadFailedError(f"h2load failed: {done.stdout}{done.stderr}")
            return _parse(done.stdout, log, requests=requests, framing=5 if call.is_grpc else 0)


def _parse(output: str, log: Path, *, requests: int, framing: int) -> Timing:
    succeeded = re.search(r"(\d+) succeeded, 0 failed, 0 errored, 0 timeout", output)
    payload = re.search(r"traffic: .*\((\d+)\) data", output)
    if succeeded is None or int(succeeded[1]) != requests or payload is None:
        raise LoadFailedError(f"expected {requests} successes, got:\n{output}")
    rows = np.fromfile(log, dtype=np.int64, sep=" ").reshape(-1, 3)
    begun_us, statuses, latencies_us = rows.T
    if len(rows) != requests or not (statuses == 200).all():
        raise LoadFailedError(f"expected {requests} times status 200, got {len(rows)}: {np.unique(statuses)}")
    elapsed_s = float((begun_us + latencies_us).max() - begun_us.min()) / 1e6
    return Timing(latencies_us, elapsed_s, int(payload[1]) - framing * requests, float(np.ptp(begun_us)) / 1e6)
