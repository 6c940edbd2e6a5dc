"""Show where a request's time goes: ``python -m benchmarks.profiling --help``."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Annotated

import psutil
import typer
from rich.console import Console

from benchmarks.__main__ import FAILURES
from benchmarks.environments import CACHE, InstallError, install
from benchmarks.load import H2load, Load
from benchmarks.measurement import Plan, Trial
from benchmarks.processes import Parts
from benchmarks.profiling.spans import Collector, Walls, middle, walls_of
from benchmarks.profiling.stages import STAGES, read
from benchmarks.report import RAW, Table, number
from benchmarks.systems import PenstockSystem
from benchmarks.workloads import WORKLOADS, Workload

ENVIRONMENT = CACHE.parent / "py-spy"
SAMPLED = ("gateway", "model")
RATE = 100
"""Samples a second: with native frames, py-spy can't do many more."""
_SPANS_S = 2.5
"""How long spans may take through exporter and monitor."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One load, looked into. ``cpu_us`` is CPU per request by part and stage; ``latency_us`` is the client's."""

    concurrency: int
    rate: float
    latency_us: float
    walls: Walls
    cpu_us: Mapping[str, Mapping[str, float]]


def main(
    workload: Annotated[str, typer.Option(help=f"One of {', '.join(WORKLOADS)}.")] = "identity",
    clients: Annotated[str, typer.Option(help="Requests under way, one profile for each.")] = "1,64",
    seconds: Annotated[float, typer.Option(min=1, help="Length of each measurement.")] = 6.0,
) -> None:
    """Show a request's life by stage, in wall and CPU time.

    Wall time is taken from the spans that Penstock makes of sampled requests anyway. CPU time is what the kernel counts
    for each thread, shared out among the stages by stacks that py-spy samples in a run of its own, so that sampling
    costs none of the times shown. The stacks go to build/benchmarks/*.stacks.txt, which https://speedscope.app draws.

    Example: python -m benchmarks.profiling --workload digits --clients 16
    """
    if workload not in WORKLOADS:
        sys.exit(f"unknown workload {workload}: expected one of {', '.join(WORKLOADS)}")
    console, model = Console(stderr=True), WORKLOADS[workload]()
    with console.status("") as status:
        try:
            install(
                ENVIRONMENT, Path(__file__).with_name("requirements.txt"), lambda step: status.update(f"py-spy: {step}")
            )
            client = H2load()
            status.update("starting Penstock")
            with Collector() as collector:
                settings = {
                    "PENSTOCK_MONITOR__FORWARD_ENDPOINT": collector.address,
                    "PENSTOCK_GATEWAY__MAX_TRACES_PER_SECOND": "500",  # a few hundred samples even of a short run
                }
                with PenstockSystem(settings=settings) as suite:
                    suite.deploy(model)
                    for count in clients.split(","):
                        status.update(f"{workload}, {count} at a time")
                        profile = _profile(
                            suite, model, int(count), client=client, collector=collector, seconds=seconds
                        )
                        _show(model, profile)
        except (*FAILURES, InstallError) as error:
            sys.exit(str(error))


def _profile(
    suite: PenstockSystem, workload: Workload, concurrency: int, *, client: H2load, collector: Collector, seconds: float
) -> Profile:
    trial = Trial(suite, workload, concurrency, client=client)
    trial.warm_up(Plan(rounds=1, seconds=seconds))
    time.sleep(_SPANS_S)
    collector.take()
    parts = suite.parts(workload)
    threads = {process.pid: _thread_seconds(process) for part in SAMPLED for process in parts[part]}
    load, requests = trial.load, trial.requests
    before = {part: _seconds(processes) for part, processes in parts.items()}
    timing = client.run(load, requests=requests)
    spent = {part: _seconds(processes) - before[part] for part, processes in parts.items()}
    for part in SAMPLED:
        for process in parts[part]:
            threads[process.pid] = _thread_seconds(process) - threads[process.pid]
    time.sleep(_SPANS_S)
    walls = walls_of(collector.take())
    stages = _sample(parts, client, load, requests, seconds=seconds, concurrency=concurrency)
    cpu = {part: _shared_out(parts[part], threads, stages) for part in SAMPLED}
    cpu |= {part: {"": seconds_ * 1e6} for part, seconds_ in spent.items() if part not in SAMPLED}
    per_request = {part: {key: us / requests for key, us in one.items()} for part, one in cpu.items()}
    return Profile(concurrency, timing.rate, fmean(middle(sorted(timing.latencies_us))), walls, per_request)


def _seconds(processes: Sequence[psutil.Process]) -> float:
    return sum(one.cpu_times().user + one.cpu_times().system for one in processes)


def _thread_seconds(process: psutil.Process) -> Counter[int]:
    """CPU seconds by thread."""
    return Counter({thread.id: thread.user_time + thread.system_time for thread in process.threads()})


def _sample(
    parts: Parts, client: H2load, load: Load, requests: int, *, seconds: float, concurrency: int
) -> dict[int, Counter[str]]:
    """Samples by thread and stage, of the same load once more, while py-spy looks on."""
    RAW.mkdir(parents=True, exist_ok=True)
    spies, files = [], []
    for part in SAMPLED:
        for index, process in enumerate(parts[part]):
            files.append(RAW / f"{part}-{index}-{concurrency}.stacks.txt")
            command = [str(ENVIRONMENT / "bin" / "py-spy"), "record", "--pid", str(process.pid), "--native"]
            command += ["--format", "raw", "--threads", "--function", "--full-filenames", "--rate", str(RATE)]
            command += ["--duration", f"{seconds:.0f}", "--output", str(files[-1])]
            spies.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    while any(spy.poll() is None for spy in spies):
        client.run(load, requests=max(load.concurrency, requests // 10 // load.concurrency * load.concurrency))
    for spy in spies:
        output = spy.communicate()[0]
        if spy.returncode:
            raise InstallError(f"py-spy may not look into the processes: {output[-500:]}")
    stages: dict[int, Counter[str]] = {}
    for file in files:
        stages |= read(file.read_text(errors="replace").splitlines()).by_thread
    return stages


def _shared_out(
    processes: Sequence[psutil.Process], threads: Mapping[int, Counter[int]], stages: Mapping[int, Counter[str]]
) -> dict[str, float]:
    """CPU µs by stage: each thread's time, in proportion to its samples."""
    shares: Counter[str] = Counter()
    for process in processes:
        for thread, seconds in threads[process.pid].items():
            found = stages.get(thread)
            if not found:
                shares["native threads"] += seconds * 1e6
                continue
            for stage, count in found.items():
                shares[stage] += seconds * 1e6 * count / found.total()
    return dict(shares)


def _show(workload: Workload, profile: Profile) -> None:
    walls, cpu, batch = profile.walls, profile.cpu_us, max(1.0, profile.walls.batch_requests)
    around = profile.latency_us - walls.in_gateway if walls.requests else 0.0
    rows = []
    for stage, meaning in STAGES.items():
        wall = {**walls.by_stage, "front": around}.get(stage)
        gateway, model = (cpu[part].get(stage, 0.0) for part in SAMPLED)
        if not wall and not gateway and not model:
            continue
        cells = [f"{wall:,.0f}" if wall is not None else "", *(_us(one) for one in (gateway, model))]
        rows.append([stage, *cells, _us((gateway + model) * batch), meaning])
    totals = [sum(cpu[part].values()) for part in SAMPLED]
    rows.append(["all", f"{profile.latency_us:,.0f}", *map(_us, totals), _us(sum(totals) * batch), ""])
    headings = ["<stage", "wall µs", "gateway CPU µs", "model CPU µs", "CPU µs a batch", "<what it is"]
    rest = ", ".join(f"{part} {_us(sum(one.values()))}" for part, one in cpu.items() if part not in SAMPLED)
    console = Console(width=150)
    console.print(
        f"\n[bold]{workload.title}, {profile.concurrency} at a time[/]: {number(profile.rate)} req/s, {batch:.1f} "
        f"requests a batch; wall times of {walls.requests:,} sampled requests (means of the "
        f"middle 80 %). CPU µs per request elsewhere: {rest}.",
        highlight=False,
    )
    console.print(Table(headings, rows).rich())
    console.print("The wall time of \"front\" is all outside the gateway's SERVER span, the client's share too.")


def _us(figure: float) -> str:
    return f"{figure:,.1f}" if figure else ""


if __name__ == "__main__":
    typer.run(main)
