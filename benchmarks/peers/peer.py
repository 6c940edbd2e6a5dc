"""A server to be compared with: what it needs, how it is installed, started and asked."""

from __future__ import annotations

import os
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.environments import CACHE, install
from benchmarks.load import LoadFailedError
from benchmarks.models import bench_models
from benchmarks.processes import Parts, family_of
from benchmarks.server_process import ServerProcess, free_ports
from benchmarks.systems import Counts
from benchmarks.wire import Api
from benchmarks.workloads import Digits, Workload

HERE = Path(__file__).resolve().parent
MODELS = Path(bench_models.__file__).parent
MAX_BATCH = bench_models.MAX_BATCH


class Peer(ABC):
    """A server; as a context manager it runs, with all workloads loaded, and is then a system to be measured.

    Its folder holds ``requirements.txt`` and the programs that run in its environment.
    """

    name: str
    title: str
    how: str
    """What it was told that matters for speed, in one sentence."""
    installation: str
    """The peer whose packages it uses; itself unless said otherwise."""

    def __init_subclass__(cls) -> None:
        if "name" in vars(cls) and not hasattr(cls, "installation"):
            cls.installation = cls.name

    def __init__(self, workloads: Sequence[Workload]) -> None:
        self.workloads = workloads
        self.names = [workload.name for workload in workloads]
        self.startup_s = 0.0
        self.folder = HERE / self.name
        self.requirements = HERE / self.installation / "requirements.txt"
        self.environment = CACHE / self.installation / ".venv"
        self.state = CACHE / self.name
        self.models = CACHE / "models"

    @abstractmethod
    def command(self) -> list[str]:
        """The command that starts the server, after :meth:`prepare`; :meth:`port` names its ports."""

    @abstractmethod
    def api(self, workload: Workload) -> Api: ...

    def prepare(self) -> None:  # noqa: B027 - most need nothing
        """Write what the server needs besides its programs: a model repository, a configuration file."""

    def environ(self) -> dict[str, str]:
        """Environment variables that it needs besides ours."""
        return {}

    def install(self, say: Callable[[str], None]) -> None:
        """Make its environment with the pinned packages; returns at once when that was done before.

        Raises:
            InstallError: pip failed.
        """
        install(self.environment, self.requirements, say)

    def version(self) -> str:
        """The pinned version, for the report."""
        first = self.requirements.read_text().splitlines()[0]
        return re.sub(r".*==", "", first)

    def started(self) -> Self:
        """To be entered: that starts it."""
        return self

    def __enter__(self) -> Self:
        self._ports = dict[str, int]()
        self.state.mkdir(parents=True, exist_ok=True)
        self.prepare()
        variables = {name: text for name, text in os.environ.items() if not name.startswith(("PENSTOCK_", "PYTHON"))}
        variables |= {
            "PATH": f"{self.environment / 'bin'}:{variables['PATH']}",
            "VIRTUAL_ENV": str(self.environment),
            "PYTHONPATH": str(MODELS),
            "BENCH_MODELS": str(self.models),
            "OMP_NUM_THREADS": "1",
            **self.environ(),
        }
        with ExitStack() as opening:
            begin = time.monotonic()
            self._server = opening.enter_context(
                ServerProcess(self.command(), environ=variables, log=self.state / "server.log", folder=self.state)
            )
            for workload in self.workloads:
                self._server.wait_until(lambda workload=workload: self._answers(workload))
            self.startup_s = time.monotonic() - begin
            self._open = opening.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.close()

    def _answers(self, workload: Workload) -> bool:
        try:
            self.api(workload).call(workload.rows(1)).ask(timeout_s=5)
        except LoadFailedError:
            return False
        return True

    def port(self, purpose: str) -> int:
        """A port of this run, the same one for the same purpose."""
        if purpose not in self._ports:
            (self._ports[purpose],) = free_ports(1)
        return self._ports[purpose]

    def address(self, purpose: str) -> str:
        return f"127.0.0.1:{self.port(purpose)}"

    def program(self, name: str) -> str:
        """A command of its environment."""
        return str(self.environment / "bin" / name)

    def parts(self, workload: Workload) -> Parts:  # noqa: ARG002 - the same for each
        return {"server": family_of(self._server.pid)}

    def counts(self, workload: Workload) -> Counts | None:  # noqa: ARG002 - most don't count
        return None


def save_weights(workloads: Sequence[Workload]) -> None:
    """Write what ``bench_models`` reads, for all peers."""
    folder = CACHE / "models"
    folder.mkdir(parents=True, exist_ok=True)
    for workload in workloads:
        if isinstance(workload, Digits):
            workload.save_weights(folder / "digits.npz")
