"""The course of events: how much the suite can do, then three times as much, then nothing but probes."""

from __future__ import annotations

import http.client
import os
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import numpy as np

from benchmarks.load import H2load, Load
from benchmarks.overload.caller import Errand, Kind
from benchmarks.overload.findings import Rows
from benchmarks.processes import CpuClock, resident_mb
from benchmarks.scenarios import SLEEPING
from benchmarks.systems import Counts, PenstockSystem
from benchmarks.workloads import Identity
from penstock.registry.v1.resources_pb2 import Deployment
from penstock.serving import Serving

_IN_FLIGHT = 16
"""Batches that callers keep under way who wait for their answers."""
URGENT, ORDINARY = 1, 2
KINDS = (
    *(Kind(URGENT, timeout_s) for timeout_s in (0.25, 1.0, 5.0)),
    *(Kind(ORDINARY, timeout_s, weight=9) for timeout_s in (0.25, 1.0, 5.0)),
)
TENANTS = {"large": 2.0 / 3.0, "medium": 0.7 / 3.0, "small": 0.3 / 3.0}
"""Each one's part of the load."""
PROBE = "probe"
PROBE_KINDS = (Kind(ORDINARY, 1.0),)
_PROBES_PER_S = 10.0
_START_S = 8.0
"""Until all callers are there."""
_QUIET_S = 5.0
_SETTLING_S = 10.0
_REST_PAUSE_S = 0.2


@dataclass(frozen=True)  # with slots, super() finds another class
class Ranked(Serving):
    """With two priorities."""

    def apply(self, deployment: Deployment) -> None:
        super().apply(deployment)
        deployment.queue.priority_levels = ORDINARY


class RestAnswer(NamedTuple):
    at: float
    status: int
    retry_after: str

    @property
    def words(self) -> str:
        return f"{self.status}, Retry-After {self.retry_after}" if self.retry_after else str(self.status)


@dataclass(slots=True)
class Course:
    """What was seen. Instants are of the machine's monotonic clock; ``memory`` is in MB by part."""

    peak: float = 0.0
    begin: float = 0.0
    end: float = 0.0
    offered: dict[str, float] = field(default_factory=dict)
    noted: dict[str, Rows] = field(default_factory=dict)
    rest: list[RestAnswer] = field(default_factory=list)
    memory: list[tuple[str, dict[str, float]]] = field(default_factory=list)
    batch_rows: list[float] = field(default_factory=list)
    """Mean rows in a batch while measuring what it can do, and under overload."""
    strangers: float = 0.0
    stolen: float = 0.0


def run(
    *,
    seconds: float,
    peak_s: float,
    times: float,
    batch: int,
    batch_ms: float,
    client: H2load,
    say: Callable[[str], None],
) -> Course:
    """Measure; the suite is one of its own, with its defaults, and a model that sleeps for up to ``batch`` rows."""
    course, workload = Course(), Identity()
    paths = os.pathsep.join([str(SLEEPING), *filter(None, [os.environ.get("PYTHONPATH")])])
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="penstock-overload-")))
        say("starting Penstock")
        suite = opened.enter_context(PenstockSystem(settings={"PYTHONPATH": paths, "BENCH_SLEEP_MS": str(batch_ms)}))
        suite.deploy(workload, serving=Ranked(max_batch_size=batch, replicas=1))
        address = suite.api(workload).call(workload.rows(1)).address
        idle = Counts.ask(address, workload.name)
        course.peak = _peak(suite, workload, client, concurrency=_IN_FLIGHT * batch, seconds=peak_s, say=say)
        before = CpuClock.read(suite.parts(workload))
        _note_memory(course, suite, workload, "before")
        course.batch_rows.append(_mean_rows(idle, Counts.ask(address, workload.name)))
        course.begin = time.monotonic() + _START_S + _QUIET_S
        course.end = course.begin + seconds
        _overload(course, suite, workload, folder, load=times * course.peak, seconds=seconds, say=say)
        spent = CpuClock.read(suite.parts(workload)) - before
        course.strangers, course.stolen = spent.strangers_share, spent.stolen_share
        _note_memory(course, suite, workload, "after")
    return course


def _peak(
    suite: PenstockSystem,
    workload: Identity,
    client: H2load,
    *,
    concurrency: int,
    seconds: float,
    say: Callable[[str], None],
) -> float:
    """Requests a second that are answered to callers that wait for their answers, the best of three."""
    load = Load(suite.api(workload).call(workload.rows(1)), concurrency)
    rate, rates = client.run(load, requests=10 * concurrency).rate, []
    for index in range(3):
        say(f"what it can do, {index + 1} of 3")
        rates.append(client.run(load, requests=max(concurrency, int(rate * seconds / 3))).rate)
    return max(rates)


def _overload(
    course: Course,
    suite: PenstockSystem,
    workload: Identity,
    folder: Path,
    *,
    load: float,
    seconds: float,
    say: Callable[[str], None],
) -> None:
    course.offered = {tenant: load * part for tenant, part in TENANTS.items()}
    address = suite.api(workload).call(workload.rows(1)).address

    def errand(tenant: str, rate: float, begin: float, seconds: float, kinds: Sequence[Kind]) -> Errand:
        output = str(folder / f"{tenant}.npy")
        return Errand(address, workload.name, tenant, rate, begin, seconds, tuple(kinds), output)

    errands = [errand(one, rate, course.begin, seconds, KINDS) for one, rate in course.offered.items()]
    probing_s = _QUIET_S + seconds + _SETTLING_S
    errands.append(errand(PROBE, _PROBES_PER_S, course.begin - _QUIET_S, probing_s, PROBE_KINDS))
    processes = [one.start() for one in errands]
    done, counts = threading.Event(), list[Counts]()
    rest = threading.Thread(target=_ask_by_rest, args=(course, suite, workload, done), daemon=True)
    rest.start()
    try:
        while any(process.poll() is None for process in processes):
            left = course.end - time.monotonic()
            say(f"{load:,.0f} requests a second" if left > 0 else "nothing but probes")
            if 0 < left < seconds:
                counts.append(Counts.ask(address, workload.name))
                _note_memory(course, suite, workload, f"after {seconds - left:.0f} s")
            time.sleep(max(1.0, seconds / 8) if left > 0 else 1.0)
    finally:
        done.set()
        for process in processes:
            process.kill()
            process.wait()
        rest.join()
    course.batch_rows.append(_mean_rows(counts[0], counts[-1]))
    course.noted = {one.tenant: np.load(one.output) for one in errands}


def _mean_rows(before: Counts, after: Counts) -> float:
    done = after - before
    return done.rows / max(1, done.executions)


def _note_memory(course: Course, suite: PenstockSystem, workload: Identity, when: str) -> None:
    held = {part: resident_mb(processes) for part, processes in suite.parts(workload).items()}
    course.memory.append((when, held))


def _ask_by_rest(course: Course, suite: PenstockSystem, workload: Identity, done: threading.Event) -> None:
    """Ask in the name of the largest tenant, a few times a second, and note each status and Retry-After."""
    while time.monotonic() < course.begin:
        time.sleep(_REST_PAUSE_S)
    connection = http.client.HTTPConnection(urlsplit(f"//{suite.rest_address}").netloc, timeout=30)
    body = workload.rows(1).tobytes()
    headers = {"inference-header-content-length": "0", "x-penstock-tenant": "large"}
    while not done.wait(_REST_PAUSE_S) and time.monotonic() < course.end:
        connection.request("POST", f"/v2/models/{workload.name}/infer", body, headers)
        answer = connection.getresponse()
        answer.read()
        course.rest.append(RestAnswer(time.monotonic(), answer.status, answer.headers.get("retry-after", "")))
    connection.close()
