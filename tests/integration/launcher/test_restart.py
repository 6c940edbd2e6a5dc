"""``penstock restart`` and ``penstock stop``: what a running launcher is asked, and what it says to it."""

from __future__ import annotations

import json
import shutil
import signal
import stat
from pathlib import Path
from typing import Any

from penstock.launcher.plan import control_socket
from tests.support import commands
from tests.support.certificates import Certificates
from tests.support.launcher import Launcher

SERVICES = ["registry", "monitor", "inference", "gateway"]


def penstock(environ: dict[str, str], *arguments: str) -> tuple[int, list[dict[str, Any]], str]:
    """Exit status, events and errors of a command."""
    done = commands.run(environ, *arguments, "--json")
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def members(launcher: Launcher) -> set[int]:
    """The processes that one gateway consists of."""
    return {one.pid for one in launcher.descendants() if "services.gateway.processes" in one.cmdline()}


def pids(launcher: Launcher) -> dict[str, int]:
    return {name: launcher.pid_of(f"services.{name}") for name in SERVICES} | {"redis": launcher.pid_of("redis-server")}


def test_a_suite_is_restarted_part_by_part_as_asked_and_stopped(environ: dict[str, str]) -> None:
    with Launcher({**environ, "PENSTOCK_GATEWAY__PROCESSES": "2"}) as launcher:
        launcher.event("all_ready")
        path = control_socket(Path(environ["PENSTOCK_HOME"]))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

        status, events, said = penstock(environ, "restart", "gateway", "nonsense")
        assert (status, [event["event"] for event in events]) == (1, ["failed"])
        assert "there is no part nonsense" in said

        before, members_before = pids(launcher), members(launcher)
        status, events, said = penstock(environ, "restart", "--rolling", "redis", "gateway")
        after, members_after = pids(launcher), members(launcher)
        assert (status, said) == (0, "")
        restarted = [event["part"] for event in events if event["event"] == "restarted"]
        assert restarted == ["gateway", "redis"]
        assert [launcher.event("restarted")["part"] for _ in restarted] == restarted
        assert {name for name, pid in after.items() if before[name] != pid} == {"redis"}, "the gateway renews its own"
        assert (len(members_before), len(members_after), members_before & members_after) == (2, 2, set())

        status, events, _ = penstock(environ, "restart", "monitor")
        changed = {name for name, pid in pids(launcher).items() if after[name] != pid}
        assert (status, changed) == (0, {"monitor"})

        assert penstock(environ, "stop")[0] == 0
        assert launcher.wait(within=5) == 0
    assert not path.exists()


def test_without_a_suite_commands_say_so(environ: dict[str, str]) -> None:
    for command in ("restart", "stop"):
        status, events, said = penstock(environ, command)
        assert (status, events) == (1, [])
        assert f"no suite runs in {environ['PENSTOCK_HOME']}" in said


def test_a_part_that_does_not_come_back_ends_the_restart_and_the_one_before_it_serves_on(
    environ: dict[str, str], certificates: Certificates, tmp_path: Path
) -> None:
    key = tmp_path / "key.pem"
    shutil.copy(certificates.server.key, key)
    environ |= certificates.server.gateway_settings | {"PENSTOCK_GATEWAY__TLS_KEY": str(key)}
    with Launcher(environ) as launcher:
        launcher.event("all_ready")
        before = pids(launcher)
        key.unlink()

        status, events, said = penstock(environ, "restart", "--rolling", "gateway", "redis")

        assert status == 1
        assert [event["event"] for event in events] == ["restarting", "not_restarted", "failed"]
        assert "can't read the TLS file" in said
        assert pids(launcher) == before
        assert launcher.event("not_restarted")["part"] == "gateway"
        shutil.copy(certificates.server.key, key)
        assert penstock(environ, "restart", "--rolling", "gateway")[0] == 0
        launcher.signal(signal.SIGINT)
        assert launcher.wait() == 0
