"""``penstock up``: starts real services, keeps them running, leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from penstock import Client
from penstock.errors import NotFoundError
from penstock.launcher.plan import redis_socket
from tests.support import commands
from tests.support.certificates import Certificates
from tests.support.launcher import Launcher
from tests.support.suite import wait_until
from tests.support.waiting import eventually

PARTS = ["redis", "registry", "monitor", "inference", "gateway"]


def _all_gone(processes: list[psutil.Process]) -> bool:
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)


@contextlib.contextmanager
def ending(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Kill the process on the way out, where it runs still."""
    with process:
        try:
            yield process
        finally:
            process.kill()


def test_parts_start_and_stop_in_reverse_order_and_leave_nothing(environ: dict[str, str]) -> None:
    with Launcher(environ) as launcher:
        launcher.event("all_ready")
        processes = launcher.descendants()
        assert len(processes) >= len(PARTS)
        launcher.signal(signal.SIGINT)
        stopped = [launcher.event("stopped") for _ in PARTS]
        assert launcher.wait() == 0
    assert [event["part"] for event in stopped] == PARTS[::-1]
    assert not any(event["was_killed"] for event in stopped)
    assert _all_gone(processes)
    logs = sorted((Path(environ["PENSTOCK_HOME"]) / "logs").iterdir())
    assert [log.name for log in logs] == sorted(f"{part}.jsonl" for part in PARTS)
    for line in (line for log in logs for line in log.read_text().splitlines()):
        assert {"@timestamp", "log.level", "message", "service.name"} <= json.loads(line).keys()


def test_killed_parts_are_started_again(environ: dict[str, str]) -> None:
    with Launcher(environ) as launcher:
        launcher.event("all_ready")
        for part, word in ("registry", "services.registry"), ("redis", "redis-server"):
            before = launcher.pid_of(word)
            os.kill(before, signal.SIGKILL)
            assert "SIGKILL" in launcher.event("died", part=part)["how"]
            assert launcher.event("ready", part=part)["is_restart"]
            assert launcher.pid_of(word) != before
        launcher.signal(signal.SIGTERM)
        assert launcher.wait() == 0


def test_the_monitor_steps_back_and_nothing_else_does(environ: dict[str, str]) -> None:
    with Launcher(environ) as launcher:
        launcher.event("all_ready")
        monitor, gateway = launcher.pid_of("services.monitor"), launcher.pid_of("services.gateway")
        assert os.getsid(monitor) == monitor
        assert os.getsid(gateway) == os.getsid(launcher.pid)
        assert [os.getpriority(os.PRIO_PROCESS, pid) for pid in (monitor, gateway)] == [10, 0]
        if Path("/proc/self/autogroup").exists():
            assert Path(f"/proc/{monitor}/autogroup").read_text().endswith("nice 10\n")
        launcher.signal(signal.SIGTERM)
        assert launcher.wait() == 0


def _status(environ: dict[str, str]) -> tuple[int, str]:
    """Exit status of ``penstock status``, and what it said of the gateway if it had no answer."""
    done = commands.run(environ, "status", "--json")
    services = {service["name"]: service["error"] for service in json.loads(done.stdout)["services"]}
    assert not any(error for name, error in services.items() if name != "gateway")
    return done.returncode, services["gateway"]


def test_gateway_with_tls_is_ready_and_asked_as_the_suite_s_settings_say(
    environ: dict[str, str], certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ |= certificates.server.gateway_settings
    with Launcher(environ) as launcher:
        launcher.event("all_ready")
        eventually(lambda: _status(environ) == (0, ""))
        assert _status({**environ, "PENSTOCK_GATEWAY_CA": str(certificates.authority)}) == (0, "")
        untrusted = {"PENSTOCK_GATEWAY_CA": str(certificates.elsewhere.certificate)}
        assert "of no authority that is trusted here (PENSTOCK_GATEWAY_CA)" in _status({**environ, **untrusted})[1]
        for name in filter(lambda name: name.startswith("PENSTOCK_"), environ):
            monkeypatch.setenv(name, environ[name])
        with Client() as client, pytest.raises(NotFoundError, match="nothing"):
            client.infer("nothing", {"x": np.zeros((1, 1))})
        launcher.signal(signal.SIGINT)
        assert not launcher.event("stopped", part="gateway")["was_killed"]
        assert launcher.wait() == 0


def test_gateway_that_wants_certificates_is_ready_and_asked_with_one(
    environ: dict[str, str], certificates: Certificates
) -> None:
    environ |= certificates.elsewhere.gateway_settings
    environ["PENSTOCK_GATEWAY__TLS_CLIENT_CA"] = str(certificates.authority)
    shown = {
        "PENSTOCK_GATEWAY_CLIENT_CERTIFICATE": str(certificates.client.certificate),
        "PENSTOCK_GATEWAY_CLIENT_KEY": str(certificates.client.key),
    }
    with Launcher(environ) as launcher:
        launcher.event("all_ready")
        named = {"PENSTOCK_GATEWAY_SERVER_NAME": "elsewhere.test"}
        eventually(lambda: _status({**environ, **shown, **named}) == (0, ""))
        assert "for another name than its address" in _status({**environ, **shown})[1]
        assert _status({**environ, **named})[0] == 1
        launcher.signal(signal.SIGINT)
        assert not launcher.event("stopped", part="gateway")["was_killed"]
        assert launcher.wait() == 0


def test_gateway_of_two_processes_starts_again_and_leaves_nothing(environ: dict[str, str]) -> None:
    with Launcher({**environ, "PENSTOCK_GATEWAY__PROCESSES": "2"}) as launcher:
        assert launcher.event("ready", part="gateway")["processes"] == 2
        os.kill(launcher.pid_of("services.gateway"), signal.SIGKILL)
        wait_until(lambda: launcher.event("ready", part="gateway")["is_restart"], within=60)
        wait_until(lambda: len(launcher.descendants()) >= len(PARTS) + 2, within=60)
        processes = launcher.descendants()
        launcher.signal(signal.SIGINT)
        assert not launcher.event("stopped", part="gateway")["was_killed"]
        assert launcher.wait() == 0
    assert _all_gone(processes)


def test_killed_launcher_takes_everything_with_it(environ: dict[str, str]) -> None:
    with Launcher(environ) as launcher:
        launcher.event("all_ready")
        processes = launcher.descendants()
        launcher.signal(signal.SIGKILL)
        wait_until(lambda: _all_gone(processes), within=20)


def test_second_interrupt_does_not_wait_for_a_part_that_hangs(environ: dict[str, str]) -> None:
    with Launcher(environ) as launcher:
        launcher.event("all_ready")
        processes = launcher.descendants()
        os.kill(launcher.pid_of("services.gateway"), signal.SIGSTOP)
        launcher.signal(signal.SIGINT)
        launcher.event("stopping")
        launcher.signal(signal.SIGINT)
        assert launcher.event("stopped", part="gateway")["was_killed"]
        assert launcher.wait(within=10) == 130
    assert _all_gone(processes)


def test_main_job_finds_the_suite_by_its_environment(environ: dict[str, str]) -> None:
    program = "\n".join(
        [
            "import json, penstock",
            "health = penstock.Client().health()",
            "print(json.dumps({'event': 'hello', 'is_up': set(health.values()) == {True}}), flush=True)",
        ]
    )
    with Launcher(environ, "--", sys.executable, "-c", program) as launcher:
        assert launcher.event("hello")["is_up"]
        assert launcher.event("main_job_ended")["status"] == 0
        launcher.signal(signal.SIGINT)
        assert launcher.wait() == 0


def test_home_with_a_long_path_works(environ: dict[str, str], tmp_path: Path) -> None:
    home = tmp_path / ("long" * 30)
    environ["PENSTOCK_HOME"] = str(home)
    environ["XDG_RUNTIME_DIR"] = str(tmp_path)
    with Launcher(environ) as launcher:
        launcher.event("all_ready")
        launcher.signal(signal.SIGINT)
        assert launcher.wait() == 0
    assert (home / "logs" / "gateway.jsonl").is_file()
    assert redis_socket(home).parent != home


def test_taken_port_is_named_before_anything_starts(environ: dict[str, str]) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = str(listener.getsockname()[1])
        environ["PENSTOCK_MONITOR__PORT"] = port
        with Launcher(environ) as launcher:
            said = launcher.refusal()
    assert port in said
    assert "PENSTOCK_MONITOR__PORT" in said
    assert "nothing was started" in said
    assert not list((Path(environ["PENSTOCK_HOME"]) / "logs").iterdir())


def test_second_suite_in_the_same_home_is_refused(environ: dict[str, str]) -> None:
    with Launcher(environ) as first:
        first.event("all_ready")
        with Launcher(environ) as second:
            said = second.refusal()
        first.signal(signal.SIGINT)
        assert first.wait() == 0
    assert str(first.pid) in said
    assert "PENSTOCK_HOME" in said


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("PENSTOCK_GATEWAY__HTTP_PORT", "http", "PENSTOCK_GATEWAY__HTTP_PORT is 'http'"),
        ("PENSTOCK_GATEWAY__NONSENSE", "1", "PENSTOCK_GATEWAY__NONSENSE"),
        ("PENSTOCK_LOG_LEVEL", "LOUD", "PENSTOCK_LOG_LEVEL: Input should be"),
        ("PENSTOCK_HOMES", "x", "error: unknown settings PENSTOCK_HOMES"),
        ("PENSTOCK_HOME", "", "PENSTOCK_HOME: is empty"),
    ],
)
def test_unfit_setting_is_refused(environ: dict[str, str], variable: str, value: str, words: str) -> None:
    environ[variable] = value
    with Launcher(environ) as launcher:
        said = launcher.refusal()
    assert words in said
    assert "Traceback" not in said


def test_program_that_is_not_there_is_refused(environ: dict[str, str]) -> None:
    with Launcher(environ, "--", "no-such-program") as launcher:
        assert "no-such-program" in launcher.refusal()


def test_closed_terminal_stops_everything_in_order(environ: dict[str, str]) -> None:
    terminal, child_side = os.openpty()
    command = [sys.executable, "-c", _IN_A_TERMINAL, sys.executable, "-m", "penstock", "up"]
    with ending(
        subprocess.Popen(
            command, env=environ, stdin=child_side, stdout=child_side, stderr=child_side, start_new_session=True
        )
    ) as launcher:
        os.close(child_side)
        shown = b""
        while b"Penstock is up" not in shown:
            shown += os.read(terminal, 1 << 16)
        processes = psutil.Process(launcher.pid).children(recursive=True)
        os.close(terminal)
        assert launcher.wait(30) == 0
    assert _all_gone(processes)


_IN_A_TERMINAL = """
import fcntl, os, signal, sys, termios
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # these tests may run under nohup
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_closed_pipe_leaves_the_suite_up(environ: dict[str, str]) -> None:
    command = [sys.executable, "-m", "penstock", "up"]
    with ending(subprocess.Popen(command, env=environ, stdout=subprocess.PIPE)) as launcher:
        assert launcher.stdout is not None
        launcher.stdout.close()
        wait_until(lambda: commands.run(environ, "status").returncode == 0, within=60)
        launcher.send_signal(signal.SIGTERM)
        assert launcher.wait(30) == 0


def test_nohup_keeps_the_suite_from_ending_with_the_terminal(environ: dict[str, str]) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        launcher = Launcher(environ)
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    with launcher:
        launcher.event("all_ready")
        launcher.signal(signal.SIGHUP)
        os.kill(launcher.pid_of("services.monitor"), signal.SIGKILL)
        assert launcher.event("ready", part="monitor")["is_restart"]
        launcher.signal(signal.SIGTERM)
        assert launcher.wait() == 0
