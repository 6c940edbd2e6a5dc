"""Directories in shared memory and the processes that they belong to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from services.common.payloads import PayloadStore, directory

_HOLDS = """
import sys
from pathlib import Path
from services.common.payloads import PayloadStore
own = PayloadStore(sys.argv[1], limit_bytes=2**20, root=Path(sys.argv[2]))
kept = own.put([b"x" * 1000], 1000)
print("ready", flush=True)
sys.stdin.read()
"""
DEAD, ALIVE = "d" * 16, "a" * 16


def test_what_a_killed_process_left_is_removed_and_what_a_live_one_has_is_not(tmp_path: Path) -> None:
    own = PayloadStore(ALIVE, limit_bytes=2**20, root=tmp_path)
    message = own.put([b"y"], 1)
    (tmp_path / "penstock-somebody-else").mkdir()
    (tmp_path / "file").touch()
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDS, DEAD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        directory.remove_abandoned(tmp_path, respite_s=0)
        assert (tmp_path / f"penstock-{DEAD}" / "1").exists()
        process.kill()
        process.wait()
    directory.remove_abandoned(tmp_path, respite_s=60)
    assert (tmp_path / f"penstock-{DEAD}" / "1").exists(), "others may still read what it sent last"
    directory.remove_abandoned(tmp_path, respite_s=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", f"penstock-{ALIVE}", "penstock-somebody-else"]
    assert message == b"y"


def test_a_store_removes_what_the_dead_left(tmp_path: Path) -> None:
    first = PayloadStore(DEAD, limit_bytes=2**20, root=tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDS, "b" * 16, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
        process.wait()
    first.trim()
    assert (tmp_path / f"penstock-{'b' * 16}" / "abandoned").exists(), "found dead"
    first.close()
