from __future__ import annotations

import json
from pathlib import Path

import pytest

from penstock.launcher.children import LinePump, describe_status
from penstock.launcher.logfiles import LogLine, ServiceLog
from penstock.launcher.plan import make, redis_socket


def test_what_is_started_is_called_at_its_own_address_and_by_tls_as_clients_are_told(tmp_path: Path) -> None:
    given = {"PENSTOCK_HOME": str(tmp_path), "PENSTOCK_GATEWAY_ADDRESS": "far:1", "PENSTOCK_GATEWAY_CA": "ca.pem"}
    environ = make(given).environ
    assert environ["PENSTOCK_GATEWAY_CA"] == "ca.pem"
    assert "PENSTOCK_GATEWAY_ADDRESS" not in environ


def _lines(*pieces: bytes) -> list[str]:
    found: list[str] = []
    pump = LinePump(found.append)
    for piece in pieces:
        pump.data_received(piece)
    pump.connection_lost(None)
    return found


def test_lines_are_whole_however_they_arrive() -> None:
    assert _lines(b"one\ntw", b"o\n\nthr", b"ee") == ["one", "two", "three"]


def test_endless_line_is_cut() -> None:
    assert max(map(len, _lines(b"x" * (3 * LinePump.LIMIT), b"y"))) <= 3 * LinePump.LIMIT


def test_log_shows_warnings_and_keeps_everything_as_json(tmp_path: Path) -> None:
    shown: list[LogLine] = []
    log = ServiceLog(tmp_path, "gateway", on_warning=shown.append)
    log.take('{"log.level": "info", "message": "quiet"}')
    log.take('{"log.level": "error", "message": "loud", "error.stack_trace": "Traceback\\n  at\\nOSError: disk"}')
    log.take("RuntimeError: no JSON at all")
    log.close()
    assert shown == [LogLine("gateway", "error", "loud (OSError: disk)")]
    assert log.last_complaint() == "RuntimeError: no JSON at all"
    written = [json.loads(line)["message"] for line in log.path.read_text().splitlines()]
    assert written == ["quiet", "loud", "RuntimeError: no JSON at all"]


def test_flood_of_warnings_is_dammed(tmp_path: Path) -> None:
    shown: list[LogLine] = []
    log = ServiceLog(tmp_path, "monitor", on_warning=shown.append)
    for _ in range(100):
        log.take('{"log.level": "warning", "message": "again"}')
    log.close()
    assert len(shown) == 11
    assert str(log.path) in shown[-1].message


def test_full_log_moves_aside_and_the_oldest_goes(tmp_path: Path) -> None:
    log = ServiceLog(tmp_path, "redis", on_warning=lambda _: None, max_bytes=200)
    for number in range(40):
        log.take(f"line {number}")
    log.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "redis.jsonl", "redis.jsonl.1", "redis.jsonl.2", "redis.jsonl.3",
    ]  # fmt: skip
    assert "line 39" in log.path.with_suffix(".jsonl.1").read_text() + log.path.read_text()


@pytest.mark.parametrize(("status", "words"), [(0, "exit status 0"), (-9, "signal SIGKILL"), (-99, "signal 99")])
def test_exit_status_in_words(status: int, words: str) -> None:
    assert describe_status(status) == words


def test_socket_moves_when_the_home_is_deep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1")
    assert redis_socket(Path("/srv/penstock")) == Path("/srv/penstock/redis.sock")
    deep = Path("/srv") / ("x" * 120)
    assert len(str(redis_socket(deep))) < 104
    assert redis_socket(deep) != redis_socket(deep / "other")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    assert len(str(redis_socket(deep))) < 104


def test_full_disk_loses_lines_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "gateway.jsonl").symlink_to("/dev/full")
    warnings: list[LogLine] = []
    log = ServiceLog(tmp_path, "gateway", on_warning=warnings.append)
    for _ in range(3):
        log.take("words")
    log.close()
    assert [warning.message for warning in warnings] == [f"log lines are lost: {log.path}: No space left on device"]
