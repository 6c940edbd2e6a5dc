"""What a suite holds just now: memory, files and threads by role, keys and entries in Redis, files on disk."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path

import psutil
from redis import Redis

from tests.chaos.stage import Stage

Census = Mapping[str, float]
"""Figures by name, for example "gateway: memory, MB"."""

MEMORY, FILES, THREADS, COUNT = "memory, MB", "open files", "threads", "processes"
_SHARED = Path("/dev/shm")


def take(stage: Stage) -> Census:
    """Count everything once; processes are told apart by what they do, because faults replace them."""
    figures: dict[str, float] = defaultdict(float)
    ours = {part: stage.pids(part) for part in stage.parts}
    for part, pids in ours.items():
        for pid in pids:
            for name, figure in _process(pid).items():
                figures[f"{part}: {name}"] += figure
    figures |= _redis(stage.redis_url)
    shared = shared_folders({pid for pids in ours.values() for pid in pids})
    figures["/dev/shm: folders"] = len(shared)
    figures["/dev/shm: MB"] = sum(_size(path) for folder in shared for path in folder.glob("*")) / 1e6
    on_disk = [path for path in stage.home.rglob("*") if path.is_file()]
    figures["home: files"] = len(on_disk)
    figures["home: MB"] = sum(map(_size, on_disk)) / 1e6
    return dict(figures)


def shared_folders(ours: Collection[int], root: Path = _SHARED) -> list[Path]:
    """Folders in shared memory that our processes hold, and those that nobody holds: other suites' aren't ours."""
    found = [path for path in root.glob("penstock-*") if path.is_dir()]
    held_by_ours, held = set[Path](), set[Path]()
    for pid in psutil.pids():
        opened = _opened(pid)
        held |= opened
        if pid in ours:
            held_by_ours |= opened
    return [path for path in found if path in held_by_ours or path not in held]


def _opened(pid: int) -> set[Path]:
    opened = set[Path]()
    with contextlib.suppress(OSError):  # it has ended, or is another user's
        for one in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                opened.add(one.readlink())
    return opened


def _process(pid: int) -> dict[str, float]:
    with contextlib.suppress(OSError, psutil.Error):
        process = psutil.Process(pid)
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        return {
            COUNT: 1,
            MEMORY: int(text.partition("\nPss:")[2].split()[0]) * 1024 / 1e6,
            FILES: sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()),
            THREADS: process.num_threads(),
        }
    return {}  # it has ended


def _redis(url: str) -> dict[str, float]:
    with Redis.from_url(url) as client:
        keys: list[bytes] = client.keys("*")
        lanes = [key for key in keys if b":lane:" in key]
        entries = sum(int(client.xlen(key)) for key in lanes)
        groups = [group for key in lanes for group in client.xinfo_groups(key)]
        return {
            "Redis: keys": len(keys),
            "Redis: entries in lanes": entries,
            "Redis: entries in somebody's hands": sum(group["pending"] for group in groups),
            "Redis: consumers": sum(group["consumers"] for group in groups),
        }


def _size(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0
