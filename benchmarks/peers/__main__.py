"""Measure Penstock beside other servers: ``python -m benchmarks.peers --help``."""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Annotated, Protocol, Self, TypeVar

import typer
from rich.console import Console

from benchmarks import report
from benchmarks.__main__ import FAILURES, ORDER
from benchmarks.environments import InstallError
from benchmarks.load import H2load
from benchmarks.measurement import Plan, Trial
from benchmarks.peers import PEERS
from benchmarks.peers.peer import save_weights
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


class Entrant(Protocol):
    """What can be started afresh in every round."""

    def started(self) -> AbstractContextManager[Running]: ...


def main(
    peers: Annotated[str, typer.Option(help=f"Some of {','.join(PEERS)}. Default: all.")] = "",
    workloads: Annotated[str, typer.Option(help=f"Some of {','.join(WORKLOADS)}. Default: all.")] = "",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; medians are shown.")] = 3,
    seconds: Annotated[float, typer.Option(min=0.2, help="Length of each measurement.")] = 3.0,
    install_only: Annotated[bool, typer.Option("--install-only", help="Install the servers and end.")] = False,
    dry: Annotated[bool, typer.Option("--dry", help="Keep RESULTS.md and its plots.")] = False,
) -> None:
    """Measure Penstock beside the servers that people run today, on the same models.

    Installs each server in an environment of its own below ~/.cache/penstock/peers (gigabytes, several minutes the
    first time). In every round each server in turn is started afresh, checked, measured and stopped, so that one runs
    at a time. Writes a section of benchmarks/RESULTS.md and plots. Takes about fifteen minutes a round.

    Example: python -m benchmarks.peers --peers triton,kserve --workloads identity,cnn --rounds 1
    """
    loads = {key: make() for key, make in _chosen(workloads, WORKLOADS).items()}
    servers = {key: make(list(loads.values())) for key, make in _chosen(peers, PEERS).items()}
    standings = {OURS: Standing(OURS, __version__, "`penstock up` with its defaults; gRPC", {}, [])}
    standings |= {key: Standing(one.title, one.version(), one.how, {}, []) for key, one in servers.items()}
    plan, console = Plan(rounds=rounds, seconds=seconds), Console(stderr=True)

    def fail(key: str, what: str, error: Exception) -> None:
        standings[key].failure = f"{what}: {error}"
        console.print(f"[red]{key}, {what}:[/] {error}", highlight=False)

    save_weights(list(loads.values()))
    with console.status("") as status:
        for key, server in servers.items():
            try:
                server.install(lambda step, key=key: status.update(f"{key}: {step}"))
            except InstallError as error:
                fail(key, "not installed", error)
        if install_only:
            return
        try:
            client = H2load()
            status.update("Penstock: deploying the models")
            home = Home(list(loads.values()))
        except FAILURES as error:
            sys.exit(f"nothing measured: {error}")
        entrants: dict[str, Entrant] = {OURS: home, **servers}
        with home:
            for number in range(plan.rounds):
                for key, entrant in entrants.items():
                    if not standings[key].failure:
                        say = _prefixed(status.update, f"round {number + 1} of {plan.rounds}, {key}: ")
                        try:
                            _round(entrant, loads, plan, client=client, standing=standings[key], say=say)
                        except (*FAILURES, InstallError, OSError) as error:
                            fail(key, f"round {number + 1}", error)
    section = section_of(list(standings.values()), loads, folder=report.RAW if dry else report.HERE)
    section.show(Console(width=180))
    _keep(section, list(standings.values()), plan, " ".join(sys.argv[1:]), dry=dry)


def _keep(section: report.Section, standings: Sequence[Standing], plan: Plan, options: str, *, dry: bool) -> None:
    figures = [one for standing in standings for rounds in standing.rounds.values() for one in rounds]
    share = statistics.fmean([one.strangers_share for one in figures] or [0.0])
    circumstances = report.circumstances(
        f"python -m benchmarks.peers {options}".strip(), strangers=share, rounds=plan.rounds, seconds=plan.seconds
    )
    report.keep_raw("peers", section, circumstances)
    if not dry:
        page = report.Page()
        page.put("peers", section.markdown(circumstances))
        page.write(ORDER)


def _prefixed(say: Say, prefix: str) -> Say:
    return lambda step: say(prefix + step)


def _chosen(text: str, known: dict[str, T]) -> dict[str, T]:
    names = [name.strip() for name in text.split(",") if name.strip()] or list(known)
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"unknown: {', '.join(unknown)}; expected some of {', '.join(known)}")
    return {name: known[name] for name in names}


def _round(
    entrant: Entrant,
    workloads: Mapping[str, Workload],
    plan: Plan,
    *,
    client: H2load,
    standing: Standing,
    say: Say,
) -> None:
    """Start a server, measure every workload at every number of clients, and stop it."""
    say("starts")
    with entrant.started() as server:
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


class Home:
    """A folder in which Penstock's models are deployed once, so that every round starts what is there already."""

    def __init__(self, workloads: Sequence[Workload]) -> None:
        self._names = [workload.name for workload in workloads]
        self._folder = tempfile.TemporaryDirectory(prefix="penstock-bench-")
        with PenstockSystem(home=Path(self._folder.name)) as suite:
            for workload in workloads:
                suite.deploy(workload)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._folder.cleanup()

    def started(self) -> PenstockSystem:
        return PenstockSystem(home=Path(self._folder.name), serving=self._names)


if __name__ == "__main__":
    typer.run(main)
