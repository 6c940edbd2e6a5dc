"""Measure Penstock beside other servers: ``python -m benchmarks.peers --help``."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Annotated, Protocol, TypeVar

import typer
from rich.console import Console

from benchmarks import report
from benchmarks.__main__ import BUSY, FAILURES, ORDER
from benchmarks.load import H2load, LoadFailedError
from benchmarks.measurement import Figures, Plan, Trial
from benchmarks.peers import PEERS
from benchmarks.peers.peer import InstallError, save_weights
from benchmarks.peers.report import OURS, Standing, Start, section_of
from benchmarks.processes import resident_mb
from benchmarks.systems import PenstockSystem, System
from benchmarks.workloads import WORKLOADS, Workload
from penstock import __version__

Say = Callable[[str], None]
T = TypeVar("T")


class Running(System, Protocol):
    """A system that was started by entering it."""

    startup_s: float


def main(
    peers: Annotated[str, typer.Option(help=f"Servers, with commas between: {', '.join(PEERS)}. Default: all.")] = "",
    workloads: Annotated[str, typer.Option(help=f"Some of {', '.join(WORKLOADS)}. Default: all.")] = "",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; medians are shown.")] = 3,
    seconds: Annotated[float, typer.Option(min=0.2, help="Length of each measurement.")] = 3.0,
    install_only: Annotated[bool, typer.Option("--install-only", help="Install the servers and end.")] = False,
    dry: Annotated[bool, typer.Option("--dry", help="Keep RESULTS.md and its plots.")] = False,
) -> None:
    """Measure Penstock beside the servers that people run today, on the same models.

    Installs each server in an environment of its own below ~/.cache/penstock/peers (gigabytes, several minutes the first
    time). In every round each server in turn is started afresh, checked, measured and stopped, so that one runs at a
    time. Writes a section of benchmarks/RESULTS.md and plots. Takes about fifteen minutes a round.

    Example: python -m benchmarks.peers --peers triton,kserve --workloads identity,cnn --rounds 1
    """
    console = Console(stderr=True)
    chosen = _chosen(peers, PEERS)
    loads = {key: make() for key, make in _chosen(workloads, WORKLOADS).items()}
    plan = Plan(rounds=rounds, seconds=seconds)
    servers = {key: make(list(loads.values())) for key, make in chosen.items()}
    standings = {OURS: Standing(OURS, __version__, "`penstock up` with its defaults; gRPC", {}, [])}
    standings |= {key: Standing(one.title, one.version(), one.how, {}, []) for key, one in servers.items()}
    save_weights(list(loads.values()))
    try:
        client = H2load()
    except LoadFailedError as error:
        sys.exit(str(error))
    with console.status("") as status:
        for key, server in servers.items():
            try:
                server.install(lambda step, key=key: status.update(f"{key}: {step}"))
            except InstallError as error:
                standings[key].failure = f"not installed: {error}"
                console.print(f"[red]{key}[/] is not installed: {error}", highlight=False)
        if install_only:
            return
        with Home(list(loads.values()), say=status.update) as home:
            entrants: dict[str, Callable[[], AbstractContextManager[Running]]] = {
                OURS: lambda: home.start(),
                **{key: (lambda server=server: server) for key, server in servers.items()},
            }
            strangers: list[float] = []
            for number in range(plan.rounds):
                for key, start in entrants.items():
                    if standings[key].failure:
                        continue
                    say: Say = lambda step, key=key, n=number: status.update(
                        f"round {n + 1}/{plan.rounds}, {key}: {step}"
                    )
                    try:
                        found = _round(start, loads, plan, client=client, standing=standings[key], say=say)
                        strangers += [one.strangers_share for one in found]
                    except (*FAILURES, InstallError, OSError) as error:
                        standings[key].failure = f"round {number + 1}: {error}"
                        console.print(f"[red]{key} failed:[/] {error}", highlight=False)
    section = section_of(list(standings.values()), loads, folder=report.RAW if dry else report.HERE)
    share = sum(strangers) / max(1, len(strangers))
    if share > BUSY:
        console.print(f"[yellow]Other programs took {share:.0%} of the machine: the figures suffer from it.")
    options = f" --workloads {workloads}" * bool(workloads) + f" --peers {peers}" * bool(peers)
    circumstances = report.circumstances(
        f"python -m benchmarks.peers{options}", strangers=share, rounds=plan.rounds, seconds=plan.seconds
    )
    section.show(Console(width=180))
    report.keep_raw("peers", section, circumstances)
    if not dry:
        page = report.Page()
        page.put("peers", section.markdown(circumstances))
        page.write(ORDER)


def _chosen(text: str, known: dict[str, T]) -> dict[str, T]:
    names = [name.strip() for name in text.split(",") if name.strip()] or list(known)
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"unknown: {', '.join(unknown)}; expected some of {', '.join(known)}")
    return {name: known[name] for name in names}


def _round(
    start: Callable[[], AbstractContextManager[Running]],
    workloads: dict[str, Workload],
    plan: Plan,
    *,
    client: H2load,
    standing: Standing,
    say: Say,
) -> list[Figures]:
    """Start a server, measure every workload at every number of clients, and stop it."""
    found = []
    say("starts")
    with start() as server:
        parts = server.parts(next(iter(workloads.values())))
        memory = resident_mb(process for processes in parts.values() for process in processes)
        standing.starts.append(Start(server.startup_s, memory))
        for key, workload in workloads.items():
            for concurrency in workload.concurrencies:
                say(f"{key}, {concurrency} clients")
                trial = Trial(server, workload, concurrency, client=client)
                trial.warm_up(plan)
                figures = trial.run()
                trial.result()
                standing.rounds.setdefault((key, concurrency), []).append(figures)
                found.append(figures)
    return found


class Home:
    """A folder in which Penstock's models are deployed once, so that every round starts what is there already."""

    def __init__(self, workloads: Sequence[Workload], *, say: Say) -> None:
        self._workloads = workloads
        self._say = say
        self._open = ExitStack()

    def __enter__(self) -> Home:
        with ExitStack() as opening:
            folder = opening.enter_context(tempfile.TemporaryDirectory(prefix="penstock-bench-"))
            self._folder = Path(folder)
            self._say("Penstock: deploying the models")
            with PenstockSystem(home=self._folder) as suite:
                for workload in self._workloads:
                    suite.deploy(workload)
            self._open = opening.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def start(self) -> PenstockSystem:
        return PenstockSystem(home=self._folder, serving=[workload.name for workload in self._workloads])


if __name__ == "__main__":
    typer.run(main)
