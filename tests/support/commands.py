"""Commands of ``penstock``, each in a process of its own that needn't import everything first."""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["penstock.cli", "penstock.cli.deploy"])


def run(
    environ: Mapping[str, str], *arguments: str | Path, answer: str = "", timeout_s: float = 120.0
) -> CompletedProcess[str]:
    """Run a command as a shell does, with ``answer`` to what it asks.

    Raises:
        TimeoutExpired: it took longer, and was killed.
    """
    words = list(map(str, arguments))
    with tempfile.TemporaryDirectory(prefix="penstock-command-") as folder:
        stdin, stdout, stderr = files = [Path(folder, name) for name in ("stdin", "stdout", "stderr")]
        stdin.write_text(answer)
        process = _SERVER.Process(target=_be_penstock, args=(words, dict(environ), Path.cwd(), files))
        process.start()
        process.join(timeout_s)
        if process.is_alive():
            process.kill()
            process.join()
            raise TimeoutExpired(["penstock", *words], timeout_s, *(one.read_bytes() for one in (stdout, stderr)))
        assert process.exitcode is not None
        return CompletedProcess(["penstock", *words], process.exitcode, stdout.read_text(), stderr.read_text())


def _be_penstock(arguments: Sequence[str], environ: Mapping[str, str], folder: Path, files: Sequence[Path]) -> None:
    for number, (path, mode) in enumerate(zip(files, (os.O_RDONLY, *[os.O_CREAT | os.O_WRONLY] * 2), strict=True)):
        os.dup2(os.open(path, mode), number)
    sys.stdin = os.fdopen(0)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ, COLUMNS="200")  # as where nobody looks
    from penstock.cli import app

    app(arguments, prog_name="penstock")
