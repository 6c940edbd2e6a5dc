"""A suite for an example: the one that runs on this machine, or one of its own that ends with it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from penstock import Client

_START_S = 120.0


@contextlib.contextmanager
def running_suite(**settings: str) -> Iterator[Client]:
    """A client of the suite that is up (`penstock up`), or of one that is started for the body of ``with``.

    ``settings`` are environment variables that it needs: with any, one is started, and none may be up.
    """
    with Client() as client:
        if all(found is True for found in client.health().values()):
            if settings:
                raise SystemExit(f"a suite is up, which may lack {', '.join(settings)}: stop it, and start this again")
            yield client
            return
    print("No suite is up: starting one …", flush=True)
    with tempfile.TemporaryDirectory(prefix="penstock-example-") as home, _started(Path(home), settings) as endpoints:
        parts = ("registry", "gateway", "inference", "monitor")
        with Client(**{part: endpoints[part] for part in parts}) as client:
            yield client


@contextlib.contextmanager
def _started(home: Path, settings: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """A suite with its home folder there; gives the addresses of its parts."""
    said = home / "up.jsonl"
    with said.open("wb") as output:
        suite = subprocess.Popen(
            [sys.executable, "-m", "penstock", "up", "--json"],
            env={**os.environ, **settings, "PENSTOCK_HOME": str(home)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            start_new_session=True,  # Ctrl-C is for the example, which then ends the suite in order
        )
    try:
        yield _endpoints(suite, said)
    finally:
        suite.send_signal(signal.SIGINT)
        suite.wait()


def _endpoints(suite: subprocess.Popen[bytes], said: Path) -> dict[str, str]:
    """What a suite says when it is ready."""
    for _ in range(int(_START_S * 10)):
        if suite.poll() is not None:
            raise SystemExit(f"the suite did not start: `{sys.executable} -m penstock up` says why")
        for line in said.read_text().splitlines():
            event = json.loads(line) if line.endswith("}") else {}
            if event.get("event") == "all_ready":
                return dict(event["endpoints"])
        time.sleep(0.1)
    raise SystemExit(f"the suite did not start in {_START_S:.0f} s")
