"""Directories in shared memory and the processes that they belong to."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from services.common.payloads import PayloadStore, directory, keep_clean
from tests.support.waiting import until

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


def leave(directory: Path) -> None:
    """Let a process die that has this directory."""
    owner_id = directory.name.removeprefix("penstock-")
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDS, owner_id, str(directory.parent)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.kill()


async def test_what_the_dead_left_is_found_by_who_starts_and_removed_by_who_keeps_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = tmp_path / f"penstock-{DEAD}"
    await asyncio.to_thread(leave, dead)
    own = PayloadStore(ALIVE, limit_bytes=2**20, root=tmp_path)
    assert (dead / "abandoned").exists(), "found dead"
    monkeypatch.setattr(directory, "RESPITE_S", 0.01)
    cleaning = asyncio.create_task(keep_clean(tmp_path))
    await until(lambda: not dead.exists())
    cleaning.cancel()
    assert (tmp_path / f"penstock-{ALIVE}").exists()
    own.close()
