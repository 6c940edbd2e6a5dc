"""Measure Penstock beside other servers: ``python -m benchmarks.peers --help``."""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Annotated, Protocol, TypeVar

import typer
from rich.console import Console

from benchmarks import report
from benchmarks.__main__ import FAILURES, ORDER
from benchmarks.environments import InstallError
from benchmarks.load import H2load, LoadFailedError
from benchmarks.measurement import Plan, Trial
from benchmarks.peers import PEERS
from benchmarks.peers.peer import save_weights
from benchmarks.peers.report import NOT_OPTIMISED, OURS, Standing, Start, section_of
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

    title: str
    how: str

    def version(self) -> str: ...

    def install(self, say: Say) -> None:
        """Do once what has to be done before the first start."""
        ...

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
    entrants: list[tuple[Entrant, dict[str, Workload]]] = [(Home(OURS, loads), loads)]
    if "cnn" in loads:
        only = {"cnn": loads["cnn"]}
        entrants.append((Home(NOT_OPTIMISED, only, is_optimized=False), only))
    entrants += [(make(list(loads.values())), loads) for make in _chosen(peers, PEERS).values()]
    plan = Plan(rounds=rounds, seconds=seconds)
    save_weights(list(loads.values()))
    try:
        client = H2load()
    except LoadFailedError as error:
        sys.exit(str(error))
    console = Console(stderr=True)
    with console.status("") as status:
        contest = Contest(entrants, plan, client, say=status.update, complain=console.print)
        contest.install()
        if install_only:
            return
        contest.run()
    section = section_of(contest.standings, loads, folder=report.RAW if dry else report.HERE)
    section.show(Console(width=180))
    _keep(section, contest.standings, plan, " ".join(sys.argv[1:]), dry=dry)


class Contest:
    """All entrants, round by round; one that fails is left out from then on, and its standing says why."""

    def __init__(
        self,
        entrants: Sequence[tuple[Entrant, Mapping[str, Workload]]],
        plan: Plan,
        client: H2load,
        *,
        say: Say,
        complain: Say,
    ) -> None:
        self._entrants = entrants
        self._plan = plan
        self._client = client
        self._say = say
        self._complain = complain
        self.standings = [Standing(one.title, one.version(), one.how, {}, []) for one, _ in entrants]

    def install(self) -> None:
        for (entrant, _), standing in zip(self._entrants, self.standings, strict=True):
            with self._noting(standing, "not installed"):
                entrant.install(lambda step, title=standing.title: self._say(f"{title}: {step}"))

    def run(self) -> None:
        for number in range(self._plan.rounds):
            for (entrant, workloads), standing in zip(self._entrants, self.standings, strict=True):
                if not standing.failure:
                    with self._noting(standing, f"round {number + 1}"):
                        self._round(entrant, workloads, standing, number)

    @contextmanager
    def _noting(self, standing: Standing, what: str) -> Iterator[None]:
        try:
            yield
        except (*FAILURES, InstallError, OSError) as error:
            standing.failure = f"{what}: {error}"
            self._complain(f"{standing.title}, {what}: {error}")

    def _round(self, entrant: Entrant, workloads: Mapping[str, Workload], standing: Standing, number: int) -> None:
        """Start a server, measure every workload at every number of clients, and stop it."""
        prefix = f"round {number + 1} of {self._plan.rounds}, {entrant.title}: "
        self._say(f"{prefix}starts")
        with entrant.started() as server:
            parts = server.parts(next(iter(workloads.values())))
            memory = resident_mb(process for processes in parts.values() for process in processes)
            standing.starts.append(Start(server.startup_s, memory))
            for key, workload in workloads.items():
                for concurrency in workload.concurrencies:
                    self._say(f"{prefix}{key}, {concurrency} clients")
                    trial = Trial(server, workload, concurrency, client=self._client)
                    trial.warm_up(self._plan)
                    figures = trial.run()
                    trial.result()
                    standing.rounds.setdefault((key, concurrency), []).append(figures)


class Home:
    """Penstock in a folder in which the models are deployed once, so that every round starts what is there already."""

    def __init__(self, title: str, workloads: Mapping[str, Workload], *, is_optimized: bool = True) -> None:
        self.title = title
        self.how = f"`penstock up` with its defaults{'' if is_optimized else ', deployed with --optimize=off'}; gRPC"
        self._workloads = list(workloads.values())
        self._is_optimized = is_optimized

    def version(self) -> str:
        return __version__

    def install(self, say: Say) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="penstock-bench-")  # removed with this object
        say("starting")
        with PenstockSystem(home=Path(self._folder.name)) as suite:
            for workload in self._workloads:
                say(f"deploying {workload.name}")
                suite.deploy(workload, is_optimized=self._is_optimized)

    def started(self) -> PenstockSystem:
        names = [workload.name for workload in self._workloads]
        return PenstockSystem(title=self.title, home=Path(self._folder.name), serving=names)


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


def _chosen(text: str, known: dict[str, T]) -> dict[str, T]:
    names = [name.strip() for name in text.split(",") if name.strip()] or list(known)
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"unknown: {', '.join(unknown)}; expected some of {', '.join(known)}")
    return {name: known[name] for name in names}


if __name__ == "__main__":
    typer.run(main)
